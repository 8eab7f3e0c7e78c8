//! Questions about types, answered from their spelling: which role a parameter plays, what travels in place
//! of a borrow, what a client takes, and how a signature reads. Aliases cannot be seen through.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    GenericArgument, PathArguments, PathSegment, ReturnType, Type, TypePath, parse_quote_spanned,
    spanned::Spanned, visit_mut::VisitMut,
};

/// What a parameter of an offered method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Travels with the call.
    Value,
    /// `CallContext`, filled in by the worker.
    Context,
    /// `ShmBytes`: a raw argument, in place.
    InPlaceArgument,
    /// `Loan`: a raw reply, in place.
    InPlaceReply,
    /// `StreamSender<T>`: items to the client.
    Sender,
    /// `StreamReceiver<T>`: items from the client.
    Receiver,
}

impl Role {
    /// The role that a type's spelling gives; `raw` says whether the method is.
    pub(crate) fn of(ty: &Type, raw: bool) -> Self {
        let Some(segment) = last_segment(referent(ty)) else { return Self::Value };
        // A library's loans may well be values; without a lifetime they are not ours.
        let in_place = raw || has_lifetime(segment);
        match segment.ident.to_string().as_str() {
            "CallContext" => Self::Context,
            "ShmBytes" if in_place => Self::InPlaceArgument,
            "Loan" if in_place => Self::InPlaceReply,
            "StreamSender" => Self::Sender,
            "StreamReceiver" => Self::Receiver,
            _ => Self::Value,
        }
    }
}

/// What an offered method returns.
pub(crate) struct Returns {
    /// The reply; `None` for `()`.
    pub(crate) reply: Option<Type>,
    /// The error of its `Result`, if it returns one.
    pub(crate) error: Option<Type>,
}

impl Returns {
    /// # Errors
    /// For a `Result` that does not spell out both its types.
    pub(crate) fn of(output: &ReturnType) -> syn::Result<Self> {
        let ReturnType::Type(_, ty) = output else { return Ok(Self { reply: None, error: None }) };
        let ty = bare(ty);
        let Some(result) = last_segment(ty).filter(|segment| segment.ident == "Result") else {
            return Ok(Self { reply: unless_unit(ty), error: None });
        };
        match arguments(result)[..] {
            [reply, error] => Ok(Self { reply: unless_unit(reply), error: Some(error.clone()) }),
            _ => Err(syn::Error::new_spanned(
                ty,
                "write both types of the `Result`, as in `Result<u32, EchoError>`: clients need to know the \
                 error's type",
            )),
        }
    }

    /// Whether the reply is borrowed (from `self`, by the rules of elision).
    pub(crate) fn is_borrowed(&self) -> bool {
        matches!(self.reply.as_ref().map(bare), Some(Type::Reference(_)))
    }
}

fn unless_unit(ty: &Type) -> Option<Type> {
    match bare(ty) {
        Type::Tuple(tuple) if tuple.elems.is_empty() => None,
        other => Some(other.clone()),
    }
}

/// The type without invisible groups and parentheses.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// `T` of `&T`; any other type itself.
pub(crate) fn referent(ty: &Type) -> &Type {
    match bare(ty) {
        Type::Reference(reference) => bare(&reference.elem),
        other => other,
    }
}

/// The last segment of a type that is a path.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match bare(ty) {
        Type::Path(TypePath { qself: None, path, .. }) => path.segments.last(),
        _ => None,
    }
}

/// The type arguments of a path segment.
pub(crate) fn arguments(segment: &PathSegment) -> Vec<&Type> {
    match &segment.arguments {
        PathArguments::AngleBracketed(list) => list
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn has_lifetime(segment: &PathSegment) -> bool {
    match &segment.arguments {
        PathArguments::AngleBracketed(list) => {
            list.args.iter().any(|argument| matches!(argument, GenericArgument::Lifetime(_)))
        }
        _ => false,
    }
}

/// `T` of `StreamSender<T>` or `StreamReceiver<T>`.
pub(crate) fn item_type(ty: &Type) -> Option<&Type> {
    match arguments(last_segment(referent(ty))?)[..] {
        [item] => Some(item),
        _ => None,
    }
}

/// What travels: the type itself, or for a borrow what it borrows from.
pub(crate) fn owned(ty: &Type) -> Type {
    let Type::Reference(reference) = bare(ty) else { return bare(ty).clone() };
    let elem = bare(&reference.elem);
    let span = elem.span();
    match elem {
        Type::Slice(slice) => {
            let item = &slice.elem;
            parse_quote_spanned!(span=> ::std::vec::Vec<#item>)
        }
        _ if is_word(elem, "str") => parse_quote_spanned!(span=> ::std::string::String),
        _ if is_word(elem, "Path") => parse_quote_spanned!(span=> ::std::path::PathBuf),
        other => other.clone(),
    }
}

/// What a client's method takes for a parameter of that type.
pub(crate) fn client_param(ty: &Type) -> Type {
    let value = referent(ty);
    let span = value.span();
    if let Some(segment) = last_segment(value) {
        match segment.ident.to_string().as_str() {
            "String" | "str" => return parse_quote_spanned!(span=> &str),
            "PathBuf" | "Path" => return parse_quote_spanned!(span=> &::std::path::Path),
            "Vec" => {
                if let [item] = arguments(segment)[..] {
                    return parse_quote_spanned!(span=> &[#item]);
                }
            }
            _ => {}
        }
    }
    if is_primitive(value) { value.clone() } else { parse_quote_spanned!(span=> &#value) }
}

/// Whether values of it are a machine word or so, and cheaper by value.
pub(crate) fn is_primitive(ty: &Type) -> bool {
    const PRIMITIVES: &[&str] = &[
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64",
        "bool", "char",
    ];
    PRIMITIVES.iter().any(|name| is_word(ty, name))
}

/// Whether it is spelled so, paths aside.
pub(crate) fn is_word(ty: &Type, word: &str) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == word && segment.arguments.is_empty())
}

/// Whether it is `Vec<u8>`.
pub(crate) fn is_byte_vec(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| {
        segment.ident == "Vec" && matches!(arguments(segment)[..], [item] if is_word(item, "u8"))
    })
}

/// Whether it is `&[u8]`.
pub(crate) fn is_byte_slice(ty: &Type) -> bool {
    match bare(ty) {
        Type::Reference(reference) if reference.mutability.is_none() => {
            matches!(bare(&reference.elem), Type::Slice(slice) if is_word(&slice.elem, "u8"))
        }
        _ => false,
    }
}

/// A type as signatures show it: paths shortened to their last segment, one way of spacing.
pub(crate) fn text(ty: &Type) -> String {
    struct Shorten;
    impl VisitMut for Shorten {
        fn visit_type_path_mut(&mut self, ty: &mut TypePath) {
            if ty.qself.is_none() {
                ty.path.leading_colon = None;
                ty.path.segments = ty.path.segments.pop().into_iter().collect();
            }
            syn::visit_mut::visit_type_path_mut(self, ty);
        }
    }
    let mut ty = bare(ty).clone();
    Shorten.visit_type_mut(&mut ty);
    let mut out = String::new();
    write_tokens(ty.to_token_stream(), &mut out);
    out
}

fn write_tokens(tokens: TokenStream, out: &mut String) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                write_tokens(group.stream(), out);
                out.push_str(close);
            }
            TokenTree::Punct(punct) => match punct.as_char() {
                '-' if punct.spacing() == Spacing::Joint => {
                    out.push_str(" -> ");
                    tokens.next();
                }
                ',' | ';' if tokens.peek().is_some() => {
                    out.push(punct.as_char());
                    out.push(' ');
                }
                '+' | '=' => {
                    out.push(' ');
                    out.push(punct.as_char());
                    out.push(' ');
                }
                other => out.push(other),
            },
            word => {
                if out.ends_with(|last: char| last.is_alphanumeric() || last == '_') {
                    out.push(' ');
                }
                out.push_str(&word.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ty: &str) -> String {
        text(&syn::parse_str(ty).unwrap())
    }

    #[test]
    fn text_is_short_and_evenly_spaced() {
        assert_eq!(shown("std :: collections::HashMap<String,Vec< u8 >>"), "HashMap<String, Vec<u8>>");
        assert_eq!(shown("(u32,)"), "(u32,)");
        assert_eq!(shown("[ serde_json::Value;4 ]"), "[Value; 4]");
        assert_eq!(shown("::std::borrow::Cow<'static,str>"), "Cow<'static, str>");
        assert_eq!(shown("Box<dyn Fn(u8)->u16+Send>"), "Box<dyn Fn(u8) -> u16 + Send>");
        assert_eq!(shown("()"), "()");
    }

    #[test]
    fn in_place_types_may_be_values_elsewhere() {
        let role = |ty: &str, raw| Role::of(&syn::parse_str(ty).unwrap(), raw);
        assert_eq!(role("Loan<'_>", false), Role::InPlaceReply);
        assert_eq!(role("Loan", true), Role::InPlaceReply);
        assert_eq!(role("&library::Loan", false), Role::Value);
        assert_eq!(role("&shmrpc::server::CallContext", false), Role::Context);
    }

    #[test]
    fn borrows_travel_as_what_they_borrow() {
        let travels = |ty: &str| text(&owned(&syn::parse_str(ty).unwrap()));
        assert_eq!(travels("&str"), "String");
        assert_eq!(travels("&'a [(u8, u8)]"), "Vec<(u8, u8)>");
        assert_eq!(travels("&a::B"), "B");
        assert_eq!(travels("&std::path::Path"), "PathBuf");
        assert_eq!(travels("Option<u8>"), "Option<u8>");
    }

    #[test]
    fn clients_take_borrows_of_all_but_primitives() {
        let taken = |ty: &str| text(&client_param(&syn::parse_str(ty).unwrap()));
        assert_eq!(taken("String"), "&str");
        assert_eq!(taken("&str"), "&str");
        assert_eq!(taken("Vec<Row>"), "&[Row]");
        assert_eq!(taken("&[u8]"), "&[u8]");
        assert_eq!(taken("u32"), "u32");
        assert_eq!(taken("&bool"), "bool");
        assert_eq!(taken("Option<String>"), "&Option<String>");
        assert_eq!(taken("&Row"), "&Row");
        assert_eq!(taken("(u8, u8)"), "&(u8, u8)");
    }
}
