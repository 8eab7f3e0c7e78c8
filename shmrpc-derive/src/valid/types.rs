//! The rules for the types of what travels.

use quote::ToTokens;
use syn::{
    Ident, Lifetime, Type, TypeFnPtr, TypeImplTrait, TypeInfer, TypeNever, TypePath, TypePtr, TypeReference,
    TypeTraitObject,
    visit::{self, Visit},
};

use crate::{
    report::Report,
    types::{arguments, bare, is_primitive, is_word, last_segment},
};

/// Reports why a parameter or a reply of that type cannot travel.
pub(super) fn check_value(ty: &Type, parameters: &[Ident], report: &mut Report) {
    let inner = match bare(ty) {
        Type::Reference(reference) => {
            if reference.mutability.is_some() {
                let message = "an argument is the handler's own copy: take it by value, or by `&`";
                return report.error(reference, message);
            }
            &reference.elem
        }
        other => other,
    };
    check_inside(inner, parameters, report);
}

/// Reports why an error of that type cannot travel.
pub(super) fn check_error(ty: &Type, parameters: &[Ident], report: &mut Report) {
    match bare(ty) {
        Type::Reference(reference) => {
            report.error(
                reference,
                "the client gets an error of its own: use the owned type, such as `String`",
            );
        }
        other => check_inside(other, parameters, report),
    }
}

/// Reports why a type without a borrow around it cannot travel.
pub(super) fn check_inside(ty: &Type, parameters: &[Ident], report: &mut Report) {
    let mut search = Obstacle { parameters, found: None };
    // An unsized slice is fine behind a reference, which the caller has taken off.
    match bare(ty) {
        Type::Slice(slice) => search.visit_type(&slice.elem),
        other => search.visit_type(other),
    }
    if let Some(error) = search.found {
        report.push(error);
    }
}

/// Looks for the first part of a type that cannot travel.
struct Obstacle<'a> {
    parameters: &'a [Ident],
    found: Option<syn::Error>,
}

impl Obstacle<'_> {
    fn refuse(&mut self, at: &impl ToTokens, message: impl std::fmt::Display) {
        if self.found.is_none() {
            self.found = Some(syn::Error::new_spanned(at, message));
        }
    }
}

impl<'ast> Visit<'ast> for Obstacle<'_> {
    fn visit_type_reference(&mut self, ty: &'ast TypeReference) {
        self.refuse(
            ty,
            "a borrow inside another type cannot be decoded: use the owned type, such as `Option<String>` \
             for `Option<&str>`",
        );
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.refuse(lifetime, "a borrowing type cannot be decoded: use an owned one");
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
        self.refuse(ty, "`impl Trait` names no type that a client could encode or decode: write the type");
    }

    fn visit_type_trait_object(&mut self, ty: &'ast TypeTraitObject) {
        self.refuse(ty, "a trait object cannot travel: write a type that serde can decode");
    }

    fn visit_type_infer(&mut self, ty: &'ast TypeInfer) {
        self.refuse(ty, "write the type: clients need to know it");
    }

    fn visit_type_ptr(&mut self, ty: &'ast TypePtr) {
        self.refuse(ty, "a pointer means nothing in another process");
    }

    fn visit_type_fn_ptr(&mut self, ty: &'ast TypeFnPtr) {
        self.refuse(ty, "a function pointer means nothing in another process");
    }

    fn visit_type_never(&mut self, ty: &'ast TypeNever) {
        self.refuse(ty, "an offered method answers: write the type of its reply");
    }

    fn visit_type_path(&mut self, ty: &'ast TypePath) {
        if let Some(qself) = &ty.qself {
            self.visit_type(&qself.ty);
        }
        let first = ty.path.segments.first().map(|segment| &segment.ident);
        if first.is_some_and(|ident| ident == "Self") {
            self.refuse(ty, "`Self` is another type in a client: write the type's name");
        }
        if let Some(name) = first.filter(|ident| self.parameters.contains(ident)) {
            self.refuse(
                ty,
                format_args!(
                    "the clients would have to know `{name}`: a signature names no parameter of its `impl`"
                ),
            );
        }
        if let Some(last) = ty.path.segments.last()
            && matches!(last.ident.to_string().as_str(), "StreamSender" | "StreamReceiver")
        {
            self.refuse(ty, "a stream is a parameter of its own, not part of a value");
        }
        visit::visit_path(self, &ty.path);
    }
}

/// Whether a raw method's reply can be seen not to be bytes. Doubtful ones are left to the compiler.
pub(super) fn is_surely_not_bytes(ty: &Type) -> bool {
    match bare(ty) {
        Type::Tuple(_) | Type::ImplTrait(_) | Type::TraitObject(_) | Type::Never(_) | Type::Infer(_) => true,
        Type::Array(array) => is_not_u8(&array.elem),
        Type::Slice(slice) => is_not_u8(&slice.elem),
        Type::Reference(reference) => is_surely_not_bytes(&reference.elem),
        other => {
            is_primitive(other)
                || last_segment(other).is_some_and(|segment| match segment.ident.to_string().as_str() {
                    "Option" | "HashMap" | "BTreeMap" | "HashSet" | "BTreeSet" | "Value" => true,
                    "StreamSender" | "StreamReceiver" | "Self" => true,
                    "Vec" => matches!(arguments(segment)[..], [item] if is_not_u8(item)),
                    _ => false,
                })
        }
    }
}

/// Whether an element's type is spelled as something that `u8` is not an alias of.
fn is_not_u8(ty: &Type) -> bool {
    (is_primitive(ty) && !is_word(ty, "u8")) || matches!(bare(ty), Type::Tuple(_) | Type::Reference(_))
}
