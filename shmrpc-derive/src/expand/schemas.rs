//! What the types of a service tell of themselves: a function that asks each of them, when the program is described. Whether
//! a type tells anything the compiler finds out; see `shmrpc_core::schema`.

use proc_macro2::{Span, TokenStream};
use quote::quote;

use super::{
    Expansion,
    parts::{error, item, reply},
};
use crate::{
    ast::Method,
    attr::Encoding,
    types::{Returns, Role, owned},
};

/// `Definition::schemas`; nothing if all methods are raw, which have no types.
pub(super) fn function(service: &Expansion<'_>) -> TokenStream {
    let krate = service.krate;
    let methods = service.definition.methods.iter().filter(|method| method.encoding != Encoding::Raw);
    let methods: Vec<TokenStream> = methods.map(|m| method(service, m)).collect();
    if methods.is_empty() {
        return TokenStream::new();
    }
    // Resolved as the macro's own, so that no name of the author's is in the way.
    let types = syn::Ident::new("types", Span::mixed_site());
    quote! {
        #[allow(unused_imports, deprecated)]
        #[allow(clippy::all, clippy::pedantic, clippy::nursery)]
        fn schemas() -> #krate::schema::Schemas {
            use #krate::schema::Untold as _;
            let mut #types = #krate::schema::Types::default();
            #(#methods)*
            #types.into_schemas()
        }
    }
}

fn method(service: &Expansion<'_>, method: &Method) -> TokenStream {
    // `valid` has refused what cannot be split.
    let Ok(returns) = Returns::of(&method.sig.output) else { return TokenStream::new() };
    let (krate, name) = (service.krate, method.name());
    let types = syn::Ident::new("types", Span::mixed_site());
    let arguments = method.values().map(|param| {
        let ty = owned(&param.ty);
        quote!(#krate::schema::Of::<#ty>::taken(&mut #types))
    });
    let (reply, error) = (reply(&returns), error(service, &returns));
    let (taken, given) = (item(service, method, Role::Receiver), item(service, method, Role::Sender));
    quote! {
        let schemas = #krate::schema::MethodSchemas {
            arguments: ::std::vec![#(#arguments),*],
            reply: #krate::schema::Of::<#reply>::given(&mut #types),
            error: #krate::schema::Of::<#error>::given(&mut #types),
            items_taken: #krate::schema::Of::<#taken>::taken(&mut #types),
            items_given: #krate::schema::Of::<#given>::given(&mut #types),
        };
        #types.method(#name, schemas);
    }
}
