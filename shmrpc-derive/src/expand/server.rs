//! The server's side: `Definition` and `Service` for the struct, or for the trait's wrapper, which is made
//! here too. Each method becomes one arm that names types and calls `server::glue`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Type, spanned::Spanned};

use super::{
    Expansion,
    parts::{arguments_span, codec, error, located, reply},
};
use crate::{
    ast::{Method, Param},
    attr::Encoding,
    types::{Returns, Role, bare, is_byte_vec, owned},
};

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
        #[derive(Clone, Copy, Debug, Default)]
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

/// The expression that runs one method for `call`.
fn run(service: &Expansion<'_>, method: &Method) -> TokenStream {
    let span = arguments_span(method);
    let krate = located(service.krate, span);
    let glue = quote_spanned!(span=> #krate::server::glue);
    // `valid` has refused what cannot be split.
    let Ok(returns) = Returns::of(&method.sig.output) else { return TokenStream::new() };
    let context = context(method);
    let run = if method.encoding == Encoding::Raw {
        run_raw(service, method, &returns, &glue)
    } else {
        run_values(service, method, &returns, &glue)
    };
    quote!({ #context #run; })
}

/// A copy of the call's context, for handlers that want it.
fn context(method: &Method) -> TokenStream {
    let wanted = method.params.iter().any(|param| matches!(param.role, Role::Context));
    if wanted { quote!(let context = call.context().clone();) } else { TokenStream::new() }
}

fn run_values(
    service: &Expansion<'_>,
    method: &Method,
    returns: &Returns,
    glue: &TokenStream,
) -> TokenStream {
    let types: Vec<Type> = method.values().map(|param| owned(&param.ty)).collect();
    let names: Vec<Ident> = (0..types.len()).map(argument).collect();
    let span = arguments_span(method);
    let (krate, codec) = (located(service.krate, span), codec(method, span));
    let (pattern, tuple) = match types.len() {
        0 => (quote!([]), quote!([(); 0])),
        _ => (quote!((#(#names,)*)), quote_spanned!(span=> (#(#types,)*))),
    };
    let reply = if returns.is_borrowed() { quote!(_) } else { reply(returns) };
    let error = error(service, returns);
    let called = called(service, method, &mut names.iter());
    let answer = answer(returns, called);
    let (function, types, handler) = if method.is_async() {
        let future = future(method, &answer);
        let function = quote_spanned!(span=> unary_async);
        (function, quote!(#tuple, #reply, #error, _), quote!(move |#pattern: #tuple| #future))
    } else {
        (quote_spanned!(span=> unary), quote!(#tuple, #reply, #error), quote!(|#pattern: #tuple| #answer))
    };
    quote_spanned!(span=> #glue::#function::<#krate::codec::#codec, #types>(call, #handler))
}

/// The handler's run as a future, located at the method's name: should it not be `Send`, it is said there.
fn future(method: &Method, answer: &TokenStream) -> TokenStream {
    let span = Span::call_site().located_at(method.sig.ident.span());
    quote_spanned!(span=> async move { #answer })
}

fn run_raw(service: &Expansion<'_>, method: &Method, returns: &Returns, glue: &TokenStream) -> TokenStream {
    let error = error(service, returns);
    let data = argument(0);
    let in_place = method.params.iter().any(|param| matches!(param.role, Role::InPlaceReply));
    if in_place {
        let reply = argument(1);
        let called = called(service, method, &mut [data.clone(), reply.clone()].iter());
        let answer = answer(returns, called);
        return quote!(#glue::raw_in_place::<#error>(call, |#data, #reply| #answer));
    }
    let called = called(service, method, &mut [data.clone()].iter());
    let answer = answer(returns, called);
    let (reply, answer) = match &returns.reply {
        Some(_) if returns.is_borrowed() => (quote!(_), answer),
        Some(ty) => (quote!(#ty), answer),
        None => (quote!([u8; 0]), quote!(#glue::no_bytes(#answer))),
    };
    if method.is_async() {
        let future = future(method, &answer);
        return quote! {
            #glue::raw_async::<#reply, #error, _>(call, move |#data: ::std::vec::Vec<u8>| #future)
        };
    }
    match method.values().next() {
        Some(param) if is_byte_vec(&param.ty) => {
            quote!(#glue::raw_owned::<#reply, #error>(call, |#data: ::std::vec::Vec<u8>| #answer))
        }
        _ => quote!(#glue::raw::<#reply, #error>(call, |#data: &[u8]| #answer)),
    }
}

/// The call of the author's method. Its tokens are located at the method's name, so that a type error
/// (a future that is not `Send`, for one) is shown there.
fn called<'i>(
    service: &Expansion<'_>,
    method: &Method,
    names: &mut impl Iterator<Item = &'i Ident>,
) -> TokenStream {
    let ident = &method.sig.ident;
    let span = Span::call_site().located_at(ident.span());
    let arguments = method.params.iter().map(|param| argument_for(param, method, names));
    let awaited = method.is_async().then(|| quote_spanned!(span=> .await));
    match &service.served.wrapper {
        None => quote_spanned!(span=> Self::#ident(&*self, #(#arguments),*) #awaited),
        Some(_) => {
            let name = &service.definition.ident;
            quote_spanned!(span=> <T as #name>::#ident(&self.0, #(#arguments),*) #awaited)
        }
    }
}

fn argument_for<'i>(
    param: &Param,
    method: &Method,
    names: &mut impl Iterator<Item = &'i Ident>,
) -> TokenStream {
    let borrowed = matches!(bare(&param.ty), Type::Reference(_));
    if matches!(param.role, Role::Context) {
        return if borrowed { quote!(&context) } else { quote!(context) };
    }
    let name = names.next();
    // `glue::raw` lends its bytes already.
    let lent = method.encoding == Encoding::Raw && !method.is_async();
    if borrowed && !lent { quote_spanned!(param.ty.span()=> &#name) } else { quote!(#name) }
}

/// The outcome as a `Result` of reply and error.
fn answer(returns: &Returns, called: TokenStream) -> TokenStream {
    match returns.error {
        Some(_) => called,
        None => quote!(::core::result::Result::Ok(#called)),
    }
}

fn argument(index: usize) -> Ident {
    format_ident!("arg{index}")
}
