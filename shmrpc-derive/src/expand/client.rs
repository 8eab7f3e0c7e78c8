//! The two clients: thin covers over `Connection`, one method for each that is offered
//! ([`method`]).

mod method;

use proc_macro2::TokenStream;
use quote::quote;

use super::{Expansion, info};

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
    let methods = methods.map(|(index, m)| method::expand(service, m, index, manner));
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone)]
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
