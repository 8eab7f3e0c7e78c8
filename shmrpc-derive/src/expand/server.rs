//! The server's side: `Definition` and `Service` for the struct, or for the trait's wrapper, which is made
//! here too. What each method's arm does is in [`run`].

mod run;

use proc_macro2::TokenStream;
use quote::quote;

use self::run::run;
use super::Expansion;

pub(super) fn expand(service: &Expansion<'_>) -> TokenStream {
    let krate = service.krate;
    let wrapper = wrapper(service);
    let (client, served) = (&service.client, &service.served.ty);
    let (impl_generics, _, where_clause) = service.served.generics.split_for_impl();
    let arms = service.definition.methods.iter().enumerate().map(|(index, method)| {
        let run = run(service, method);
        quote!(#index => #run,)
    });
    quote! {
           #wrapper

           #[automatically_derived]
           impl #impl_generics #krate::Definition for #served #where_clause {
               const INFO: &'static #krate::method::ServiceInfo = <#client as #krate::Definition>::INFO;
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
                   match method {
                       #(#arms)*
                       _ => {
    let info = <#client as #krate::Definition>::INFO;
    #krate::server::glue::no_such_method(call, info, method);
    }
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
