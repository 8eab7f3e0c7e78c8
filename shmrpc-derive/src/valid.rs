//! The rules for a service, each broken one reported at the tokens that break it, with what to do instead.
//!
//! A method that breaks a rule is taken out of what is offered; the rest is expanded as if it were all, so
//! that one mistake makes one error. What only the compiler can know (whether a type can be serialised)
//! is left to it.

mod method;
mod types;

use proc_macro2::Span;
use syn::{GenericParam, Ident, ImplItem, TraitItem};

use crate::{
    ast::{Definition, Form},
    report::Report,
};

/// Checks the definition, leaving in it what can be expanded. `false`: nothing can.
pub(crate) fn check(definition: &mut Definition, report: &mut Report) -> bool {
    if let Form::Trait(item) = &definition.form
        && !item.generics.params.is_empty()
    {
        report.error(
            &item.generics,
            "a service trait has no parameters: its clients need to know every type; make it generic in \
             its implementation instead",
        );
        return false;
    }
    if definition.attribute_paths.is_empty() {
        let message = "this service offers nothing: mark at least one method with `#[json_method]`, \
                       `#[msgpack_method]`, `#[bincode_method]` or `#[raw_method]`";
        report.push(syn::Error::new(Span::call_site(), message));
    }
    drop_duplicates(definition, report);
    let parameters = parameters(definition);
    definition.methods.retain(|method| {
        let before = report.len();
        method::check(method, &parameters, report);
        report.len() == before
    });
    true
}

/// Methods of one name. The later ones leave the item too, or the compiler would complain once more.
fn drop_duplicates(definition: &mut Definition, report: &mut Report) {
    let mut seen: Vec<Ident> = Vec::new();
    let mut doubled: Vec<Ident> = Vec::new();
    definition.methods.retain(|method| {
        let ident = &method.sig.ident;
        if !seen.contains(ident) {
            seen.push(ident.clone());
            return true;
        }
        report.error(ident, format!("`{ident}` is offered twice: a method is known by its name alone"));
        doubled.push(ident.clone());
        false
    });
    for ident in doubled {
        let mut met = false;
        // Keeps everything but the second and later functions of that name.
        let mut keep = |name: Option<&Ident>| name != Some(&ident) || !std::mem::replace(&mut met, true);
        match &mut definition.form {
            Form::Impl(item) => item.items.retain(|part| match part {
                ImplItem::Fn(function) => keep(Some(&function.sig.ident)),
                _ => keep(None),
            }),
            Form::Trait(item) => item.items.retain(|part| match part {
                TraitItem::Fn(function) => keep(Some(&function.sig.ident)),
                _ => keep(None),
            }),
        }
    }
}

/// The type and const parameters of the `impl`, which a signature must not mention.
fn parameters(definition: &Definition) -> Vec<Ident> {
    let names = definition.generics().params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(param.ident.clone()),
        GenericParam::Const(param) => Some(param.ident.clone()),
        GenericParam::Lifetime(_) => None,
    });
    names.collect()
}
