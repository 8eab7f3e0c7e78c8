//! A service as its author wrote it: the item without our attributes, and its offered methods taken apart.
//! Only what has no place in these structures is refused here; the rules are in `valid`.

use proc_macro2::Span;
use syn::{
    Attribute, Expr, FnArg, Generics, Ident, ImplItem, Item, ItemImpl, ItemTrait, Lit, Meta, Pat, Path,
    Signature, TraitItem, Type, ext::IdentExt,
};

use crate::{
    attr::{Encoding, MethodOptions},
    report::Report,
    types::{self, Role},
};

/// What the attribute stands on.
pub(crate) enum Form {
    /// `impl EchoServer { … }`.
    Impl(ItemImpl),
    /// `trait Echo { … }`.
    Trait(ItemTrait),
}

/// The item, without our attributes, and what it offers.
pub(crate) struct Definition {
    pub(crate) form: Form,
    /// The struct's or the trait's name.
    pub(crate) ident: Ident,
    pub(crate) doc: String,
    pub(crate) methods: Vec<Method>,
    /// The method attributes' paths as written, for `marker`.
    pub(crate) attribute_paths: Vec<Path>,
}

/// One offered method.
pub(crate) struct Method {
    pub(crate) encoding: Encoding,
    pub(crate) options: MethodOptions,
    pub(crate) sig: Signature,
    /// Its parameters without `self`.
    pub(crate) params: Vec<Param>,
    /// Its `#[doc]` attributes.
    pub(crate) docs: Vec<Attribute>,
    /// A `#[cfg]`, which `valid` refuses.
    pub(crate) cfg: Option<Attribute>,
}

/// One parameter of an offered method.
pub(crate) struct Param {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) role: Role,
}

/// An item of which no service can be made.
pub(crate) struct Unusable {
    /// It, without our attributes.
    pub(crate) item: Box<Item>,
    /// The method attributes' paths as written.
    pub(crate) attribute_paths: Vec<Path>,
}

impl Definition {
    /// Takes an item apart. When nothing can be made of it, why has been reported.
    pub(crate) fn new(item: Item, report: &mut Report) -> Result<Self, Unusable> {
        match item {
            Item::Impl(item) => Self::from_impl(item, report),
            Item::Trait(item) => Ok(Self::from_trait(item, report)),
            other => {
                let message = format!(
                    "`#[service]` stands on an `impl` block of a struct or on a trait, not on {}",
                    kind(&other)
                );
                report.push(syn::Error::new(Span::call_site(), message));
                Err(Unusable { item: Box::new(other), attribute_paths: Vec::new() })
            }
        }
    }

    fn from_impl(mut item: ItemImpl, report: &mut Report) -> Result<Self, Unusable> {
        let mut methods = Vec::new();
        let mut attribute_paths = Vec::new();
        for part in &mut item.items {
            if let ImplItem::Fn(function) = part {
                let marks = take_marks(&mut function.attrs);
                let method = Method::new(&function.sig, &function.attrs, &marks, report);
                methods.extend(method);
                attribute_paths.extend(marks.into_iter().map(|(mark, _)| mark.path().clone()));
            }
        }
        if let Some((path, _)) = &item.trait_ {
            report.error(
                path,
                "`#[service]` stands on the struct's own `impl` block; to make a service of a trait, put it \
                 on the trait's definition",
            );
            return Err(Unusable { item: Box::new(Item::Impl(item)), attribute_paths });
        }
        let Some(ident) = types::last_segment(&item.self_ty).map(|segment| segment.ident.clone()) else {
            report.error(&item.self_ty, "`#[service]` needs a struct or an enum with a name");
            return Err(Unusable { item: Box::new(Item::Impl(item)), attribute_paths });
        };
        let doc = first_paragraph(&item.attrs);
        Ok(Self { form: Form::Impl(item), ident, doc, methods, attribute_paths })
    }

    fn from_trait(mut item: ItemTrait, report: &mut Report) -> Self {
        let mut methods = Vec::new();
        let mut attribute_paths = Vec::new();
        for part in &mut item.items {
            if let TraitItem::Fn(function) = part {
                let marks = take_marks(&mut function.attrs);
                let method = Method::new(&function.sig, &function.attrs, &marks, report);
                methods.extend(method);
                attribute_paths.extend(marks.into_iter().map(|(mark, _)| mark.path().clone()));
            }
        }
        let (ident, doc) = (item.ident.clone(), first_paragraph(&item.attrs));
        Self { form: Form::Trait(item), ident, doc, methods, attribute_paths }
    }

    pub(crate) fn generics(&self) -> &Generics {
        match &self.form {
            Form::Impl(item) => &item.generics,
            Form::Trait(item) => &item.generics,
        }
    }
}

impl Method {
    fn new(
        sig: &Signature,
        attrs: &[Attribute],
        marks: &[(Attribute, Encoding)],
        report: &mut Report,
    ) -> Option<Self> {
        let before = report.len();
        let (mark, encoding) = marks.first()?;
        if let Some((second, other)) = marks.get(1) {
            let message = format!(
                "`{}` is marked `#[{}]` already: a method has one encoding",
                sig.ident,
                encoding.attribute()
            );
            let message = if encoding == other { format!("{message}, given once") } else { message };
            report.error(second, message);
        }
        let options = MethodOptions::parse(mark, *encoding, report);
        let mut params = Vec::new();
        for (index, input) in sig.inputs.iter().enumerate() {
            match Param::new(index, input, *encoding) {
                Ok(param) => params.extend(param),
                Err(error) => report.push(error),
            }
        }
        let docs = attrs.iter().filter(|attr| attr.path().is_ident("doc")).cloned().collect();
        let cfg = attrs.iter().find(|attr| attr.path().is_ident("cfg")).cloned();
        let method = Self { encoding: *encoding, options, sig: sig.clone(), params, docs, cfg };
        (report.len() == before).then_some(method)
    }

    /// The name under which it is offered.
    pub(crate) fn name(&self) -> String {
        self.sig.ident.unraw().to_string()
    }

    pub(crate) fn is_async(&self) -> bool {
        self.sig.asyncness.is_some()
    }

    pub(crate) fn doc(&self) -> String {
        first_paragraph(&self.docs)
    }

    /// Whether it has a parameter of that role.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.params.iter().any(|param| param.role == role)
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.has(Role::Sender) || self.has(Role::Receiver)
    }

    /// The parameters that travel with the call.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Param> {
        self.params.iter().filter(|param| matches!(param.role, Role::Value))
    }
}

impl Param {
    /// `None` for `self`.
    fn new(index: usize, input: &FnArg, encoding: Encoding) -> syn::Result<Option<Self>> {
        let FnArg::Typed(input) = input else { return Ok(None) };
        let name = match &*input.pat {
            // An underscore in front silences the compiler in the handler; callers need not see it.
            Pat::Ident(pat) if pat.subpat.is_none() && pat.by_ref.is_none() => {
                let name = pat.ident.to_string();
                match name.trim_start_matches('_') {
                    "" => pat.ident.clone(),
                    bare if bare.len() == name.len() => pat.ident.clone(),
                    bare => syn::parse_str(bare).unwrap_or_else(|_| pat.ident.clone()),
                }
            }
            Pat::Wild(_) => Ident::new(&format!("arg{index}"), Span::call_site()),
            pattern => {
                return Err(syn::Error::new_spanned(
                    pattern,
                    "an offered method's parameter is a plain name, since clients use it too: take the value \
                     apart inside the method",
                ));
            }
        };
        let role = Role::of(&input.ty, encoding == Encoding::Raw);
        Ok(Some(Self { name, ty: (*input.ty).clone(), role }))
    }
}

/// Removes our attributes from a method and returns them.
fn take_marks(attrs: &mut Vec<Attribute>) -> Vec<(Attribute, Encoding)> {
    let mut marks = Vec::new();
    attrs.retain(|attr| match Encoding::of(attr) {
        Some(encoding) => {
            marks.push((attr.clone(), encoding));
            false
        }
        None => true,
    });
    marks
}

/// The first paragraph of the documentation, on one line.
fn first_paragraph(attrs: &[Attribute]) -> String {
    let lines: Vec<String> = attrs.iter().filter_map(doc_text).collect();
    let text = lines.join("\n");
    let words = text.trim_start().lines().map(str::trim).take_while(|line| !line.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn doc_text(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attr.meta else { return None };
    match &pair.value {
        Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn kind(item: &Item) -> &'static str {
    match item {
        Item::Struct(_) => "a struct",
        Item::Enum(_) => "an enum",
        Item::Fn(_) => "a function",
        Item::Mod(_) => "a module",
        _ => "this item",
    }
}
