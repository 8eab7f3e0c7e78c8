//! The two clients: thin covers over `Connection`, one method for each that is offered.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Type;

use super::{
    Expansion, info,
    parts::{arguments_span, codec, error, located, reply},
};
use crate::{
    ast::Method,
    attr::Encoding,
    types::{Returns, Role, client_param},
};

/// Which of the two clients is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Async,
    Blocking,
}

pub(super) fn expand(service: &Expansion<'_>) -> TokenStream {
    let (krate, client, blocking) = (service.krate, &service.client, &service.blocking_client);
    let info = info::expression(service);
    let clients = [Manner::Async, Manner::Blocking].map(|manner| one(service, manner));
    quote! {
        #[automatically_derived]
        impl #krate::Definition for #client {
            const INFO: &'static #krate::method::ServiceInfo = #info;
        }

        #[automatically_derived]
        impl #krate::Definition for #blocking {
            const INFO: &'static #krate::method::ServiceInfo = <#client as #krate::Definition>::INFO;
        }

        #(#clients)*
    }
}

fn one(service: &Expansion<'_>, manner: Manner) -> TokenStream {
    let (krate, vis) = (service.krate, &service.vis);
    let (name, kind) = match manner {
        Manner::Async => (&service.client, "async"),
        Manner::Blocking => (&service.blocking_client, "blocking"),
    };
    let text = name.to_string();
    let doc = format!(
        "The {kind} client of `{}`. Cheap to clone; clones share a connection, and any number of calls may \
         be under way at once.",
        service.options.name
    );
    let making = making(service, manner);
    let methods = service.definition.methods.iter().enumerate();
    let methods = methods.map(|(index, m)| method(service, m, index, manner));
    quote! {
        #[doc = #doc]
        #[derive(Clone)]
        #[allow(dead_code, unreachable_pub)]
        #vis struct #name {
            connection: #krate::Connection,
        }

        #[automatically_derived]
        impl ::core::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#text).finish_non_exhaustive()
            }
        }

        #[allow(dead_code, unreachable_pub, private_interfaces)]
        #[allow(clippy::all, clippy::pedantic, clippy::nursery)]
        impl #name {
            #making
            #(#methods)*
        }
    }
}

/// The functions that make a client, and those that every client has.
fn making(service: &Expansion<'_>, manner: Manner) -> TokenStream {
    let krate = service.krate;
    let (asyncness, awaited, connect) = match manner {
        Manner::Async => (quote!(async), quote!(.await), quote!(connect)),
        Manner::Blocking => (quote!(), quote!(), quote!(connect_blocking)),
    };
    let in_process = in_process(service);
    quote! {
        /// Connects to an endpoint (`"shm://"`, `"tcp://host[:port]"`, `"inproc://"`), or to the first that
        /// answers of several; what an endpoint leaves out is the service's own name or port.
        ///
        /// # Errors
        /// When nobody answers, or when the server's methods differ from this client's.
        pub #asyncness fn connect(
            endpoints: impl #krate::endpoint::IntoEndpoints,
        ) -> ::core::result::Result<Self, #krate::ConnectError> {
            Self::connect_with(endpoints, &#krate::ConnectOptions::default()) #awaited
        }

        /// Connects with options.
        ///
        /// # Errors
        /// As `connect`.
        pub #asyncness fn connect_with(
            endpoints: impl #krate::endpoint::IntoEndpoints,
            options: &#krate::ConnectOptions,
        ) -> ::core::result::Result<Self, #krate::ConnectError> {
            let info = <Self as #krate::Definition>::INFO;
            #krate::Connection::#connect(endpoints, info, options) #awaited.map(Self::from_connection)
        }

        /// A client over a connection that exists already. Methods are not checked.
        #[must_use]
        pub const fn from_connection(connection: #krate::Connection) -> Self {
            Self { connection }
        }

        #in_process

        /// A client over the same connection whose calls have that deadline, whatever their methods say.
        #[must_use]
        pub fn with_deadline(&self, deadline: ::core::time::Duration) -> Self {
            Self { connection: self.connection.with_deadline(deadline) }
        }

        /// The connection beneath.
        #[must_use]
        pub const fn connection(&self) -> &#krate::Connection {
            &self.connection
        }
    }
}

fn in_process(service: &Expansion<'_>) -> TokenStream {
    let krate = service.krate;
    let (impl_generics, _, where_clause) = service.served.generics.split_for_impl();
    let (taken, served) = match &service.served.wrapper {
        None => (service.served.ty.clone(), quote!(service)),
        Some(wrapper) => (quote!(T), quote!(#wrapper::new(service))),
    };
    quote! {
        /// A client of a service that runs in this process, published nowhere: for tests, and for programs
        /// that do without processes.
        #[must_use]
        pub fn in_process #impl_generics (service: #taken) -> Self #where_clause {
            Self::from_connection(#krate::in_process(::std::sync::Arc::new(#served)))
        }
    }
}

/// The client's method for one that is offered.
fn method(service: &Expansion<'_>, method: &Method, index: usize, manner: Manner) -> TokenStream {
    let krate = service.krate;
    let Ok(returns) = Returns::of(&method.sig.output) else { return TokenStream::new() };
    let (ident, docs) = (&method.sig.ident, docs(service, method));
    let error = error(service, &returns);
    let info = quote!(&<Self as #krate::Definition>::INFO.methods[#index]);
    let asyncness = matches!(manner, Manner::Async).then(|| quote!(async));
    let (params, reply, call) = match method.encoding {
        Encoding::Raw => raw_call(service, method, &returns, &info, manner),
        _ => value_call(service, method, &returns, &info, manner),
    };
    quote! {
        #(#docs)*
        pub #asyncness fn #ident(&self #params) -> ::core::result::Result<#reply, #krate::CallError<#error>> {
            #call
        }
    }
}

/// Parameters, reply and expression of a call with values.
fn value_call(
    service: &Expansion<'_>,
    method: &Method,
    returns: &Returns,
    info: &TokenStream,
    manner: Manner,
) -> (TokenStream, TokenStream, TokenStream) {
    let names: Vec<_> = method.values().map(|param| &param.name).collect();
    let types: Vec<Type> = method.values().map(|param| client_param(&param.ty)).collect();
    let reply = reply(returns);
    let error = error(service, returns);
    // Located where the types are: what cannot travel is reported there, once for both clients.
    let span = arguments_span(method);
    let (krate, codec) = (located(service.krate, span), codec(method, span));
    let (args, tuple) = match names.len() {
        0 => (quote!([(); 0]), quote!([])),
        _ => (quote!(_), quote_spanned!(span=> (#(#names,)*))),
    };
    let new = quote_spanned!(span=> #krate::client::TypedCall::<#args, #reply, #error>::new);
    let call = quote_spanned!(span=> #new::<#krate::codec::#codec>(#info, &args));
    let send = match manner {
        Manner::Async => quote!(self.connection.send(call).await),
        Manner::Blocking => quote!(self.connection.send_blocking(call)),
    };
    (quote!(#(, #names: #types)*), reply, quote!(let args = #tuple; let call = #call; #send))
}

/// Parameters, reply and expression of a raw call.
fn raw_call(
    service: &Expansion<'_>,
    method: &Method,
    returns: &Returns,
    info: &TokenStream,
    manner: Manner,
) -> (TokenStream, TokenStream, TokenStream) {
    let error = error(service, returns);
    let taken = method.params.iter().find(|p| matches!(p.role, Role::Value | Role::InPlaceArgument));
    let (params, data) = match taken {
        Some(param) => {
            let name = &param.name;
            (quote!(, #name: &[u8]), quote!(#name))
        }
        None => (quote!(), quote!(&[])),
    };
    let call = match manner {
        Manner::Async => quote!(self.connection.call_raw::<#error>(#info, #data).await),
        Manner::Blocking => quote!(self.connection.call_raw_blocking::<#error>(#info, #data)),
    };
    let in_place = method.params.iter().any(|p| matches!(p.role, Role::InPlaceReply));
    if returns.reply.is_some() || in_place {
        (params, quote!(::std::vec::Vec<u8>), call)
    } else {
        (params, quote!(()), quote!(#call.map(|_no_bytes| ())))
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
