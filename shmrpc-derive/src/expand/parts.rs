//! Parts of a call that server and client write alike: its codec, its reply, its error, its items, and where
//! to show what is wrong with its arguments.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Ident, spanned::Spanned};

use super::Expansion;
use crate::{
    ast::Method,
    attr::Encoding,
    types::{Returns, Role, item_type, owned},
};

/// The codec's type.
pub(super) fn codec(method: &Method, at: Span) -> Ident {
    Ident::new(method.encoding.type_name(), at)
}

/// The reply's type, as a client gets it.
pub(super) fn reply(returns: &Returns) -> TokenStream {
    match &returns.reply {
        Some(ty) => owned(ty).into_token_stream(),
        None => quote!(()),
    }
}

/// The typed error, or the one that cannot be.
pub(super) fn error(service: &Expansion<'_>, returns: &Returns) -> TokenStream {
    let krate = service.krate;
    match &returns.error {
        Some(ty) => ty.to_token_stream(),
        None => quote!(#krate::NoError),
    }
}

/// The type of the items that travel in the direction of that role.
pub(super) fn item(service: &Expansion<'_>, method: &Method, role: Role) -> TokenStream {
    let krate = service.krate;
    let param = method.params.iter().find(|param| param.role == role);
    match param.and_then(|param| item_type(&param.ty)) {
        Some(item) => item.to_token_stream(),
        None if method.encoding == Encoding::Raw => quote!(::std::vec::Vec<u8>),
        None => quote!(#krate::NoItems),
    }
}

/// Where to show that the arguments cannot travel: at the type of the only one, else at the method's name.
/// Names are resolved as the macro's own.
pub(super) fn arguments_span(method: &Method) -> Span {
    let mut values = method.values();
    let at = match (values.next(), values.next()) {
        (Some(only), None) => only.ty.span(),
        _ => method.sig.ident.span(),
    };
    Span::call_site().located_at(at)
}

/// The same tokens, resolved as before, but shown at that place. A path is shown where its first and last
/// token are, so those that come from elsewhere have to move along.
pub(super) fn located(tokens: impl ToTokens, at: Span) -> TokenStream {
    let moved = tokens.into_token_stream().into_iter().map(|mut token| {
        token.set_span(token.span().located_at(at));
        token
    });
    moved.collect()
}
