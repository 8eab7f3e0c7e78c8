//! The description of a service as a constant: name, port, and one `MethodInfo` a method.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, ext::IdentExt};

use super::Expansion;
use crate::{
    ast::Method,
    attr::Encoding,
    types::{Returns, Role, item_type, owned, text},
};

/// The expression of the `&'static ServiceInfo`.
pub(super) fn expression(service: &Expansion<'_>) -> TokenStream {
    let krate = service.krate;
    let struct_name = service.definition.ident.to_string();
    let (name, port, doc) = (&service.options.name, service.options.port, &service.definition.doc);
    let max_workers = option(service.options.workers.map(|workers| quote!(#workers)));
    let methods = service.definition.methods.iter().map(|m| method(krate, m));
    quote! {
        &#krate::method::ServiceInfo {
            struct_name: #struct_name,
            name: #name,
            port: #port,
            max_workers: #max_workers,
            doc: #doc,
            methods: &[#(#methods),*],
        }
    }
}

fn method(krate: &syn::Path, method: &Method) -> TokenStream {
    let (name, doc) = (method.name(), method.doc());
    let encoding = Ident::new(method.encoding.type_name(), proc_macro2::Span::call_site());
    let params: Vec<(String, String)> = params(method);
    let returns = returns(method);
    let types: Vec<String> = params.iter().map(|(_, ty)| ty.clone()).chain(streams(method)).collect();
    let shape = Ident::new(shape(method), proc_macro2::Span::call_site());
    let signature = format!("({}) -> {returns}", types.join(", "));
    let params = params.iter().map(|(name, ty)| quote!(#krate::method::ParamInfo { name: #name, ty: #ty }));
    let (idempotent, read_only) = (method.options.idempotent, method.options.read_only);
    let deadline = option(method.options.deadline.map(|deadline| {
        let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        quote!(::core::time::Duration::from_millis(#ms))
    }));
    quote! {
        #krate::method::MethodInfo {
            id: #krate::method::method_id(
                #name,
                #krate::Encoding::#encoding,
                #krate::method::Shape::#shape,
                #signature,
            ),
            name: #name,
            encoding: #krate::Encoding::#encoding,
            shape: #krate::method::Shape::#shape,
            signature: #signature,
            params: &[#(#params),*],
            returns: #returns,
            doc: #doc,
            idempotent: #idempotent,
            read_only: #read_only,
            deadline: #deadline,
        }
    }
}

/// Names and types of what travels. Borrowing or working in place is the handler's own affair, so it
/// leaves no trace: a method may change from `String` to `&str` under running clients.
fn params(method: &Method) -> Vec<(String, String)> {
    if method.encoding == Encoding::Raw {
        let takes_bytes =
            method.params.iter().find(|p| matches!(p.role, Role::Value | Role::InPlaceArgument));
        let named = takes_bytes.map(|param| (param.name.unraw().to_string(), "Vec<u8>".to_owned()));
        return named.into_iter().collect();
    }
    method.values().map(|param| (param.name.unraw().to_string(), text(&owned(&param.ty)))).collect()
}

/// Its streams as a signature shows them, in one order whatever the handler's.
fn streams(method: &Method) -> impl Iterator<Item = String> {
    [(Role::Receiver, "StreamReceiver"), (Role::Sender, "StreamSender")].into_iter().filter_map(
        |(role, name)| {
            let stream = method.params.iter().find(|param| param.role == role)?;
            Some(format!("{name}<{}>", text(item_type(&stream.ty)?)))
        },
    )
}

fn shape(method: &Method) -> &'static str {
    match (method.has(Role::Sender), method.has(Role::Receiver)) {
        (false, false) => "Unary",
        (true, false) => "Download",
        (false, true) => "Upload",
        (true, true) => "Duplex",
    }
}

fn returns(method: &Method) -> String {
    let Ok(returns) = Returns::of(&method.sig.output) else { return String::new() };
    let in_place = method.has(Role::InPlaceReply);
    let reply = match &returns.reply {
        None if in_place => "Vec<u8>".to_owned(),
        None => "()".to_owned(),
        Some(_) if method.encoding == Encoding::Raw => "Vec<u8>".to_owned(),
        Some(ty) => text(&owned(ty)),
    };
    match &returns.error {
        Some(error) => format!("Result<{reply}, {}>", text(error)),
        None => reply,
    }
}

fn option(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
