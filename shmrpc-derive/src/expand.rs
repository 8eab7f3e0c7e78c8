//! From a checked definition to code: the item itself, the description ([`info`]), the two clients
//! ([`client`]) and the server's side ([`server`]).
//!
//! Everything is named by absolute path, under the facade crate that `#[service(crate = …)]` may rename;
//! helper code is called, not generated, so that what a user steps through stays small.

mod client;
mod info;
mod item;
mod parts;
mod schemas;
mod server;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Generics, Ident, Item, Path, Type};

use crate::{
    ast::{Definition, Form, Unusable},
    attr::ServiceOptions,
    marker,
    report::Report,
    valid,
};

/// Expands `#[service]`. Whatever is wrong, the item comes out, so that mistakes make no others.
pub(crate) fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    let parsed: Item = match syn::parse2(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let error = error.to_compile_error();
            return quote!(#item #error);
        }
    };
    let mut report = Report::default();
    let mut definition = match Definition::new(parsed, &mut report) {
        Ok(definition) => definition,
        Err(Unusable { item, attribute_paths }) => {
            let (uses, errors) = (marker::uses(&attribute_paths), report.into_tokens());
            return quote!(#item #uses #errors);
        }
    };
    let suggested = snake_case(&definition.ident.to_string());
    let options = ServiceOptions::parse(options, &suggested, &mut report);
    let expandable = valid::check(&mut definition, &mut report);
    let uses = marker::uses(&definition.attribute_paths);
    let item = item::emitted(&definition.form);
    let made = if expandable {
        let service = Expansion::new(&definition, &options);
        let (server, clients) = (server::expand(&service), client::expand(&service));
        quote!(#server #clients)
    } else {
        TokenStream::new()
    };
    let errors = report.into_tokens();
    quote!(#item #uses #made #errors)
}

/// What the parts of an expansion share.
struct Expansion<'a> {
    definition: &'a Definition,
    options: &'a ServiceOptions,
    /// The facade crate.
    krate: &'a Path,
    /// The async client, which also carries the description: unlike the server it is never generic.
    client: Ident,
    blocking_client: Ident,
    /// The visibility of what is made.
    vis: TokenStream,
    served: Served,
}

/// The type that is served.
struct Served {
    ty: TokenStream,
    generics: Generics,
    /// In the trait form: the wrapper's name.
    wrapper: Option<Ident>,
}

impl<'a> Expansion<'a> {
    fn new(definition: &'a Definition, options: &'a ServiceOptions) -> Self {
        let ident = &definition.ident;
        // Located at the author's name, but resolved as the macro's own.
        let span = Span::call_site().located_at(ident.span());
        let (vis, served) = match &definition.form {
            Form::Impl(item) => (quote!(pub), served_struct(&item.self_ty, &item.generics)),
            Form::Trait(item) => {
                let wrapper = format_ident!("{}Service", ident, span = span);
                let generics = syn::parse_quote!(<T: #ident>);
                let served = Served { ty: quote!(#wrapper<T>), generics, wrapper: Some(wrapper) };
                (item.vis.to_token_stream(), served)
            }
        };
        Self {
            definition,
            options,
            krate: &options.krate,
            client: format_ident!("{}Client", ident, span = span),
            blocking_client: format_ident!("{}BlockingClient", ident, span = span),
            vis,
            served,
        }
    }
}

fn served_struct(ty: &Type, generics: &Generics) -> Served {
    let mut generics = generics.clone();
    if !generics.params.is_empty() {
        // What `Service` asks for, said of the whole so that the author need not repeat it.
        let where_clause = generics.make_where_clause();
        where_clause
            .predicates
            .push(syn::parse_quote!(#ty: ::core::marker::Send + ::core::marker::Sync + 'static));
    }
    Served { ty: ty.to_token_stream(), generics, wrapper: None }
}

/// `EchoServer` → `echo_server`.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
