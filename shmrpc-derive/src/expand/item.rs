//! The item as it is emitted: an `impl` unchanged, a trait with what a service needs of its implementors.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{ItemTrait, ReturnType, TraitItem, TraitItemFn, TypeParamBound};

use crate::ast::Form;

/// The item without our attributes.
pub(super) fn emitted(form: &Form) -> TokenStream {
    match form {
        Form::Impl(item) => item.to_token_stream(),
        Form::Trait(item) => service_trait(item.clone()).into_token_stream(),
    }
}

/// A service is shared by threads and outlives every borrow; its async methods give futures that may
/// change threads, which `async fn` in a trait cannot say.
fn service_trait(mut item: ItemTrait) -> ItemTrait {
    let bounds: [TypeParamBound; 3] = [
        syn::parse_quote!(::core::marker::Send),
        syn::parse_quote!(::core::marker::Sync),
        syn::parse_quote!('static),
    ];
    item.colon_token.get_or_insert_default();
    item.supertraits.extend(bounds);
    for part in &mut item.items {
        if let TraitItem::Fn(function) = part
            && function.sig.asyncness.is_some()
        {
            desugar(function);
        }
    }
    item
}

/// `async fn f(&self) -> R` → `fn f(&self) -> impl Future<Output = R> + Send`.
fn desugar(function: &mut TraitItemFn) {
    function.sig.asyncness = None;
    let output = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => ty.to_token_stream(),
    };
    function.sig.output = syn::parse_quote! {
        -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
    };
    if let Some(body) = &mut function.default {
        let statements = &body.stmts;
        *body = syn::parse_quote!({ async move { #(#statements)* } });
        function.attrs.push(syn::parse_quote!(#[allow(clippy::manual_async_fn)]));
    }
}
