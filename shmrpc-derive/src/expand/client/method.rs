//! A client's method for one that is offered.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Type;

use super::Manner;
use crate::{
    ast::Method,
    attr::Encoding,
    expand::{
        Expansion,
        parts::{arguments_span, codec, error, item, located, reply},
    },
    types::{Returns, Role, client_param},
};

pub(super) fn expand(service: &Expansion<'_>, method: &Method, index: usize, manner: Manner) -> TokenStream {
    let krate = service.krate;
    // `valid` has refused what cannot be split.
    let Ok(returns) = Returns::of(&method.sig.output) else { return TokenStream::new() };
    let stub = Stub {
        service,
        method,
        manner,
        span: arguments_span(method),
        info: quote!(&<Self as #krate::Definition>::INFO.methods[#index]),
        error: error(service, &returns),
        returns,
    };
    let Body { params, returned, expression } = match method.encoding {
        Encoding::Raw => stub.raw(),
        _ => stub.values(),
    };
    let (ident, docs, error) = (&method.sig.ident, docs(service, method), &stub.error);
    let asyncness = matches!(manner, Manner::Async).then(|| quote!(async));
    quote! {
        #(#docs)*
        pub #asyncness fn #ident(
            &self #params
        ) -> ::core::result::Result<#returned, #krate::CallError<#error>> {
            #expression
        }
    }
}

/// What the ways of calling share.
struct Stub<'a> {
    service: &'a Expansion<'a>,
    method: &'a Method,
    manner: Manner,
    /// Where to show what is wrong with types.
    span: Span,
    /// The method's description.
    info: TokenStream,
    error: TokenStream,
    returns: Returns,
}

/// What differs from method to method.
struct Body {
    /// The parameters after `&self`, each with its comma before it.
    params: TokenStream,
    /// What is in the `Ok`.
    returned: TokenStream,
    expression: TokenStream,
}

impl Stub<'_> {
    fn values(&self) -> Body {
        let (method, error, info) = (self.method, &self.error, &self.info);
        let names: Vec<_> = method.values().map(|param| &param.name).collect();
        let types: Vec<Type> = method.values().map(|param| client_param(&param.ty)).collect();
        let reply = reply(&self.returns);
        // Located where the types are: what cannot travel is reported there, once for both clients.
        let span = self.span;
        let (krate, codec) = (located(self.service.krate, span), codec(method, span));
        let (args_type, args) = match names.len() {
            0 => (quote!([(); 0]), quote!([])),
            _ => (quote!(_), quote_spanned!(span=> (#(#names,)*))),
        };
        let params = quote!(#(, #names: #types)*);
        if method.is_streaming() {
            let codec = quote!(#krate::codec::#codec);
            let call = self.stream(&codec, &args_type, &reply, &quote!(&args));
            let expression = quote!(let args = #args; #call);
            return Body { params, returned: self.stream_type(&reply), expression };
        }
        let new = quote_spanned!(span=> #krate::client::TypedCall::<#args_type, #reply, #error>::new);
        let call = quote_spanned!(span=> #new::<#krate::codec::#codec>(#info, &args));
        let send = match self.manner {
            Manner::Async => quote!(self.connection.send(call).await),
            Manner::Blocking => quote!(self.connection.send_blocking(call)),
        };
        Body { params, returned: reply, expression: quote!(let args = #args; let call = #call; #send) }
    }

    fn raw(&self) -> Body {
        let (method, error, info) = (self.method, &self.error, &self.info);
        let taken = method.params.iter().find(|p| matches!(p.role, Role::Value | Role::InPlaceArgument));
        let (params, data) = match taken.map(|param| &param.name) {
            Some(name) => (quote!(, #name: &[u8]), quote!(#name)),
            None => (quote!(), quote!(&[])),
        };
        let bytes = quote!(::std::vec::Vec<u8>);
        if method.is_streaming() {
            let krate = self.service.krate;
            let expression = self.stream(&quote!(#krate::codec::Raw), &quote!([u8]), &bytes, &data);
            return Body { params, returned: self.stream_type(&bytes), expression };
        }
        let call = match self.manner {
            Manner::Async => quote!(self.connection.call_raw::<#error>(#info, #data).await),
            Manner::Blocking => quote!(self.connection.call_raw_blocking::<#error>(#info, #data)),
        };
        if self.returns.reply.is_some() || method.has(Role::InPlaceReply) {
            Body { params, returned: bytes, expression: call }
        } else {
            Body { params, returned: quote!(()), expression: quote!(#call.map(|_no_bytes| ())) }
        }
    }

    /// The expression that starts a streaming call.
    fn stream(
        &self,
        codec: &TokenStream,
        args_type: &TokenStream,
        reply: &TokenStream,
        args: &TokenStream,
    ) -> TokenStream {
        let (error, info, span) = (&self.error, &self.info, self.span);
        let (sent, received) = self.items();
        let types = quote!(#codec, #args_type, #sent, #received, #reply, #error);
        match self.manner {
            Manner::Async => quote_spanned!(span=> self.connection.stream::<#types>(#info, #args).await),
            Manner::Blocking => {
                quote_spanned!(span=> self.connection.stream_blocking::<#types>(#info, #args))
            }
        }
    }

    fn stream_type(&self, reply: &TokenStream) -> TokenStream {
        let (krate, error) = (self.service.krate, &self.error);
        let (sent, received) = self.items();
        match self.manner {
            Manner::Async => quote!(#krate::StreamCall<#sent, #received, #reply, #error>),
            Manner::Blocking => quote!(#krate::BlockingStreamCall<#sent, #received, #reply, #error>),
        }
    }

    /// The types of the items that the client sends, and of those that it receives.
    fn items(&self) -> (TokenStream, TokenStream) {
        (item(self.service, self.method, Role::Receiver), item(self.service, self.method, Role::Sender))
    }
}

/// The author's documentation, and the errors if it does not speak of them.
fn docs(service: &Expansion<'_>, method: &Method) -> Vec<TokenStream> {
    let mut docs: Vec<TokenStream> = method.docs.iter().map(|attr| quote!(#attr)).collect();
    let text = docs.iter().map(ToString::to_string).collect::<String>();
    if docs.is_empty() {
        let line = format!("Calls `{}` of `{}`.", method.name(), service.options.name);
        docs.push(quote!(#[doc = #line]));
    }
    if !text.contains("# Errors") {
        let line = "\n# Errors\nThe service's own error, or what kept the call from being answered.";
        docs.push(quote!(#[doc = #line]));
    }
    docs
}
