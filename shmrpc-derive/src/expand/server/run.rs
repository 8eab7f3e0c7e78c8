//! One method's arm of `dispatch`: it names the types, takes the arguments apart and calls the author's
//! method from within `server::glue`, which decodes, answers and contains panics.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, Type, spanned::Spanned};

use crate::{
    ast::{Method, Param},
    attr::Encoding,
    expand::{
        Expansion,
        parts::{arguments_span, codec, error, item, located, reply},
    },
    types::{Returns, Role, bare, is_byte_vec, owned},
};

/// The expression that runs one method for `call`.
pub(super) fn run(service: &Expansion<'_>, method: &Method) -> TokenStream {
    // `valid` has refused what cannot be split.
    let Ok(returns) = Returns::of(&method.sig.output) else { return TokenStream::new() };
    let span = arguments_span(method);
    let krate = located(service.krate, span);
    let arm = Arm {
        service,
        method,
        span,
        glue: quote_spanned!(span=> #krate::server::glue),
        error: error(service, &returns),
        returns,
    };
    let context = method.has(Role::Context).then(|| quote!(let context = call.context();));
    let run = match method.encoding {
        Encoding::Raw if method.has(Role::InPlaceReply) => arm.in_place(),
        Encoding::Raw => arm.raw(),
        _ => arm.values(),
    };
    quote!({ #context #run; })
}

/// What the ways of running a method share.
struct Arm<'a> {
    service: &'a Expansion<'a>,
    method: &'a Method,
    /// Where to show what is wrong with types.
    span: Span,
    glue: TokenStream,
    error: TokenStream,
    returns: Returns,
}

impl Arm<'_> {
    fn values(&self) -> TokenStream {
        let (method, span, glue, error) = (self.method, self.span, &self.glue, &self.error);
        let (krate, codec) = (located(self.service.krate, span), codec(method, span));
        let types: Vec<Type> = method.values().map(|param| owned(&param.ty)).collect();
        let names: Vec<Ident> = (0..types.len()).map(argument).collect();
        let (pattern, tuple) = match types.len() {
            0 => (quote!([]), quote!([(); 0])),
            _ => (quote!((#(#names,)*)), quote_spanned!(span=> (#(#types,)*))),
        };
        let reply = if self.returns.is_borrowed() { quote!(_) } else { reply(&self.returns) };
        let answer = self.answer(&names);
        let items = method.is_streaming().then(|| {
            let (sent, received) = self.items();
            quote!(#sent, #received,)
        });
        let future_type = method.is_async().then(|| quote!(, _));
        let function = self.function("unary", "stream");
        let handler = self.handler(&quote!(#pattern: #tuple), answer);
        quote_spanned! {span=>
            #glue::#function::<#krate::codec::#codec, #tuple, #items #reply, #error #future_type>(call, #handler)
        }
    }

    fn raw(&self) -> TokenStream {
        let (method, glue, error, data) = (self.method, &self.glue, &self.error, argument(0));
        let answer = self.answer(std::slice::from_ref(&data));
        let (reply, answer) = match &self.returns.reply {
            Some(_) if self.returns.is_borrowed() => (quote!(_), answer),
            Some(ty) => (quote!(#ty), answer),
            None => (quote!([u8; 0]), quote!(#glue::no_bytes(#answer))),
        };
        let takes_vec = method.values().next().is_some_and(|param| is_byte_vec(&param.ty));
        // Streaming glue lends its bytes to every `fn`.
        let owned = takes_vec && !method.is_async() && !method.is_streaming();
        let lent = !method.is_async() && !owned;
        let function =
            if owned { quote!(raw_owned) } else { self.function("raw", "raw_stream").into_token_stream() };
        let data = if lent { quote!(#data: &[u8]) } else { quote!(#data: ::std::vec::Vec<u8>) };
        let future_type = method.is_async().then(|| quote!(, _));
        let handler = self.handler(&data, answer);
        quote!(#glue::#function::<#reply, #error #future_type>(call, #handler))
    }

    fn in_place(&self) -> TokenStream {
        let (glue, error, data, reply) = (&self.glue, &self.error, argument(0), argument(1));
        let answer = self.answer(&[data.clone(), reply.clone()]);
        quote!(#glue::raw_in_place::<#error>(call, |#data, #reply| #answer))
    }

    /// The glue's function for this method: `unary`, `unary_async`, `stream` or `stream_async`.
    fn function(&self, one_reply: &str, streaming: &str) -> Ident {
        let name = if self.method.is_streaming() { streaming } else { one_reply };
        let suffix = if self.method.is_async() { "_async" } else { "" };
        format_ident!("{name}{suffix}", span = self.span)
    }

    /// The closure for the glue. A half of the stream that the method does not take is dropped first, so
    /// that the caller sees at once that nothing travels there.
    fn handler(&self, arguments: &TokenStream, answer: TokenStream) -> TokenStream {
        let method = self.method;
        let halves = method.is_streaming().then(|| quote!(, out, input));
        let unused = [(Role::Sender, quote!(out)), (Role::Receiver, quote!(input))]
            .into_iter()
            .filter(|(role, _)| method.is_streaming() && !method.has(*role))
            .map(|(_, half)| quote!(::core::mem::drop(#half);));
        if !method.is_async() {
            return quote!(|#arguments #halves| { #(#unused)* #answer });
        }
        // Located at the method's name: should the future not be `Send`, it is said there.
        let span = Span::call_site().located_at(method.sig.ident.span());
        let future = quote_spanned!(span=> async move { #answer });
        quote!(move |#arguments #halves| { #(#unused)* #future })
    }

    /// The types of the items that the handler sends, and of those that it receives.
    fn items(&self) -> (TokenStream, TokenStream) {
        (item(self.service, self.method, Role::Sender), item(self.service, self.method, Role::Receiver))
    }

    /// The call of the author's method, and its outcome as a `Result` of reply and error. Its tokens are
    /// located at the method's name, so that a type error is shown there.
    fn answer(&self, names: &[Ident]) -> TokenStream {
        let ident = &self.method.sig.ident;
        let span = Span::call_site().located_at(ident.span());
        let mut names = names.iter();
        let arguments = self.method.params.iter().map(|param| self.argument(param, &mut names));
        let awaited = self.method.is_async().then(|| quote_spanned!(span=> .await));
        let called = match &self.service.served.wrapper {
            None => quote_spanned!(span=> Self::#ident(&*self, #(#arguments),*) #awaited),
            Some(_) => {
                let name = &self.service.definition.ident;
                quote_spanned!(span=> <T as #name>::#ident(&self.0, #(#arguments),*) #awaited)
            }
        };
        match self.returns.error {
            Some(_) => called,
            None => quote!(::core::result::Result::Ok(#called)),
        }
    }

    fn argument<'i>(&self, param: &Param, names: &mut impl Iterator<Item = &'i Ident>) -> TokenStream {
        let name = match param.role {
            Role::Context => quote!(context),
            Role::Sender => quote!(out),
            Role::Receiver => quote!(input),
            Role::Value | Role::InPlaceArgument | Role::InPlaceReply => {
                let name = names.next();
                quote!(#name)
            }
        };
        let raw = self.method.encoding == Encoding::Raw && param.role == Role::Value;
        let lent = raw && !self.method.is_async();
        let copied = lent && self.method.is_streaming() && is_byte_vec(&param.ty);
        match bare(&param.ty) {
            _ if copied => quote!(#name.to_vec()),
            Type::Reference(_) if !lent => quote_spanned!(param.ty.span()=> &#name),
            _ => name,
        }
    }
}

fn argument(index: usize) -> Ident {
    format_ident!("arg{index}")
}
