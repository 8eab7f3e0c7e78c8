//! The server's side: `Definition` and `Service` for the struct, or for the trait's wrapper, which is made
//! here too. What each method's arm does is in [`run`].

mod run;

use proc_macro2::TokenStream;
use quote::quote;

use self::run::run;
use super::{Expansion, schemas};

pub(super) fn expand(service: &Expansion<'_>) -> TokenStream {
    let krate = service.krate;
    let wrapper = wrapper(service);
    let (client, served) = (&service.client, &service.served.ty);
    let (impl_generics, _, where_clause) = service.served.generics.split_for_impl();
    // Handlers that may go on after the dispatch take a share in the service with them.
    let arms = |here: bool| {
        let methods = service.definition.methods.iter().enumerate();
        let chosen = methods.filter(move |(_, method)| here != (method.is_async() || method.is_streaming()));
        chosen.map(move |(index, method)| {
            let run = run(service, method);
            let done = here.then(|| quote!(::core::option::Option::None));
            quote!(#index => { #run; #done })
        })
    };
    let (arms_here, arms) = (arms(true), arms(false));
    let schemas = schemas::function(service);
    quote! {
        #wrapper

        #[automatically_derived]
        impl #impl_generics #krate::Definition for #served #where_clause {
            const INFO: &'static #krate::method::ServiceInfo = <#client as #krate::Definition>::INFO;

            #schemas
        }

        #[automatically_derived]
        #[allow(clippy::all, clippy::pedantic, clippy::nursery)]
        impl #impl_generics #krate::Service for #served #where_clause {
            fn info(&self) -> &'static #krate::method::ServiceInfo {
                <#client as #krate::Definition>::INFO
            }

            fn dispatch(
                self: ::std::sync::Arc<Self>,
                method: usize,
                call: #krate::server::IncomingCall<'_>,
            ) {
                let ::core::option::Option::Some(call) = self.dispatch_here(method, call) else {
                    return;
                };
                match method {
                    #(#arms)*
                    _ => {
                        let info = <#client as #krate::Definition>::INFO;
                        #krate::server::glue::no_such_method(call, info, method);
                    }
                }
            }

            fn dispatch_here<'a>(
                &self,
                method: usize,
                call: #krate::server::IncomingCall<'a>,
            ) -> ::core::option::Option<#krate::server::IncomingCall<'a>> {
                match method {
                    #(#arms_here)*
                    _ => ::core::option::Option::Some(call),
                }
            }
        }
    }
}

/// In the trait form: the type that serves any implementor.
fn wrapper(service: &Expansion<'_>) -> TokenStream {
    let Some(wrapper) = &service.served.wrapper else { return TokenStream::new() };
    let (vis, name) = (&service.vis, &service.definition.ident);
    let doc = format!("Serves any [`{name}`].");
    quote! {
        #[doc = #doc]
        #[derive(
            ::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug, ::core::default::Default,
        )]
        #[allow(dead_code, unreachable_pub)]
        #vis struct #wrapper<T>(
            #[doc = "The implementation that is served."]
            pub T,
        );

        #[allow(dead_code, unreachable_pub)]
        impl<T: #name> #wrapper<T> {
            #[doc = "Serves this implementation."]
            pub const fn new(service: T) -> Self {
                Self(service)
            }
        }
    }
}
