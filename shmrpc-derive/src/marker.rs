//! The method attributes as macros of their own. `#[service]` reads and removes them before they run; what
//! is left for them is to be importable, and to say so when they stand elsewhere.
//!
//! The code made by `#[service]` applies each of them once to an empty constant, with [`SEEN`] as its
//! option. So an import counts as used, and a missing one is reported at the author's attribute.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Ident, Path, spanned::Spanned};

/// The option by which a method attribute knows that `#[service]` has read it.
const SEEN: &str = "__seen_by_service";

/// Expands `#[raw_method]` and its kin.
pub(crate) fn method(name: &str, options: TokenStream, item: TokenStream) -> TokenStream {
    if options.to_string() == SEEN {
        return TokenStream::new();
    }
    let message = format!(
        "`#[{name}]` has a meaning only on a method of an `impl` block or a trait that is marked `#[service]`"
    );
    let error = syn::Error::new(Span::call_site(), message).to_compile_error();
    quote!(#item #error)
}

/// Applies each attribute, as its author spelled it, to nothing.
pub(crate) fn uses(paths: &[Path]) -> TokenStream {
    let mut spellings = Vec::new();
    let mut tokens = TokenStream::new();
    for path in paths {
        let spelling = path.to_token_stream().to_string();
        if !spellings.contains(&spelling) {
            spellings.push(spelling);
            let seen = Ident::new(SEEN, Span::call_site());
            tokens.extend(quote_spanned!(path.span()=> #[#path(#seen)] const _: () = ();));
        }
    }
    tokens
}
