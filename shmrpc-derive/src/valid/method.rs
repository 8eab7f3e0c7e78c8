//! The rules for one offered method.

use syn::{GenericParam, Ident, Receiver, ReceiverKind, Signature, Type};

use super::types::{check_error, check_inside, check_value, is_surely_not_bytes};
use crate::{
    ast::{Method, Param},
    attr::Encoding,
    report::Report,
    types::{Returns, Role, bare, is_byte_slice, is_byte_vec, item_type},
};

/// Names that every client uses for itself.
const RESERVED: &[&str] =
    &["connect", "connect_with", "from_connection", "in_process", "with_deadline", "connection"];

/// Reports what is wrong with a method; `parameters` are those of its `impl`.
pub(super) fn check(method: &Method, parameters: &[Ident], report: &mut Report) {
    let sig = &method.sig;
    if let Some(cfg) = &method.cfg {
        report.error(
            cfg,
            "an offered method cannot be left out by `#[cfg]`: server and clients would differ; put the \
             `#[cfg]` on the whole service",
        );
    }
    if RESERVED.contains(&method.name().as_str()) {
        let message = format!("`{}` is what every client calls a method of its own: rename it", sig.ident);
        report.error(&sig.ident, message);
    }
    check_receiver(sig, report);
    check_qualifiers(sig, report);
    let returns = match Returns::of(&sig.output) {
        Ok(returns) => returns,
        Err(error) => return report.push(error),
    };
    match method.encoding {
        Encoding::Raw => check_raw(method, &returns, report),
        _ => check_values(method, &returns, parameters, report),
    }
    if let Some(error) = &returns.error {
        check_error(error, parameters, report);
    }
    if method.is_async() && returns.is_borrowed() {
        report.error(
            &returns.reply,
            "an `async fn` runs apart from the worker's threads, so its reply cannot be borrowed: return an \
             owned value",
        );
    }
    check_streams(method, parameters, report);
}

fn check_receiver(sig: &Signature, report: &mut Report) {
    match sig.receiver() {
        None => report.error(
            &sig.ident,
            format!("`{}` is offered, so it takes `&self`: add it as the first parameter", sig.ident),
        ),
        Some(Receiver { kind: ReceiverKind::Reference(_, _, None), .. }) => {}
        Some(receiver @ Receiver { kind: ReceiverKind::Reference(_, _, Some(_)), .. }) => report.error(
            receiver,
            "calls run at the same time, so an offered method takes `&self`: keep what changes in a \
             `Mutex`, a `RwLock` or an atomic",
        ),
        Some(receiver) => {
            report.error(receiver, "the service outlives each call, so an offered method takes `&self`");
        }
    }
}

fn check_qualifiers(sig: &Signature, report: &mut Report) {
    let generic = sig.generics.params.iter().find(|param| !matches!(param, GenericParam::Lifetime(_)));
    if let Some(parameter) = generic {
        report.error(
            parameter,
            "an offered method has no parameters of its own: what travels has a type that both sides know",
        );
    }
    if let Some(token) = &sig.constness {
        report.error(token, "an offered method is not `const`");
    }
    if let Some(dots) = &sig.variadic {
        report.error(dots, "an offered method has a fixed number of arguments");
    }
    if !matches!(sig.safety, syn::Safety::Default) {
        report.error(&sig.safety, "an offered method is safe: its callers are other processes");
    }
}

fn check_values(method: &Method, returns: &Returns, parameters: &[Ident], report: &mut Report) {
    for param in &method.params {
        match param.role {
            Role::Value => check_value(&param.ty, parameters, report),
            Role::InPlaceArgument | Role::InPlaceReply => report.error(
                &param.ty,
                "`ShmBytes` and `Loan` are bytes in place: only a `#[raw_method]` has them",
            ),
            Role::Context | Role::Sender | Role::Receiver => {}
        }
    }
    if let Some(reply) = &returns.reply {
        check_value(reply, parameters, report);
    }
}

fn check_raw(method: &Method, returns: &Returns, report: &mut Report) {
    let in_place = |param: &&Param| matches!(param.role, Role::InPlaceArgument | Role::InPlaceReply);
    if let Some(first) = method.params.iter().find(in_place) {
        return check_in_place(method, first, returns, report);
    }
    for (index, param) in method.values().enumerate() {
        if index > 0 || !(is_byte_slice(&param.ty) || is_byte_vec(&param.ty)) {
            report.error(
                &param.ty,
                "a raw method takes bytes: one `&[u8]` or `Vec<u8>`, or nothing; for other arguments use \
                 `#[json_method]`, `#[msgpack_method]` or `#[bincode_method]`",
            );
        }
    }
    if let Some(reply) = &returns.reply
        && is_surely_not_bytes(reply)
    {
        report.error(
            reply,
            "a raw method returns bytes: `Vec<u8>` or anything else that is `AsRef<[u8]>`, nothing, or a \
             `Result` of these",
        );
    }
}

fn check_in_place(method: &Method, first: &Param, returns: &Returns, report: &mut Report) {
    let parts: Vec<&Param> = method.params.iter().filter(|param| param.role != Role::Context).collect();
    let roles: Vec<Role> = parts.iter().map(|param| param.role).collect();
    let borrowed = parts.iter().any(|param| matches!(bare(&param.ty), Type::Reference(_)));
    if roles != [Role::InPlaceArgument, Role::InPlaceReply] || borrowed {
        report.error(
            &first.ty,
            "a raw method in place is written `fn f(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), E>`",
        );
    }
    if let Some(token) = &method.sig.asyncness {
        report.error(token, "a raw method in place is a plain `fn`: its bytes are lent for the call alone");
    }
    if let Some(reply) = &returns.reply {
        report.error(reply, "a raw method in place writes its reply into the `Loan`: return `Result<(), E>`");
    }
}

fn check_streams(method: &Method, parameters: &[Ident], report: &mut Report) {
    for (role, name) in [(Role::Sender, "StreamSender"), (Role::Receiver, "StreamReceiver")] {
        for (index, param) in method.params.iter().filter(|param| param.role == role).enumerate() {
            if index > 0 {
                let message =
                    format!("a method has one `{name}` at most: give its items a type with variants");
                report.error(&param.ty, message);
            }
            match item_type(&param.ty) {
                None => report.error(&param.ty, format!("write the type of its items: `{name}<Row>`")),
                Some(item) if method.encoding == Encoding::Raw => {
                    if !is_byte_vec(item) {
                        report.error(item, "the items of a raw method are bytes: `Vec<u8>`");
                    }
                }
                Some(item) => check_inside(item, parameters, report),
            }
        }
    }
    let sender = method.params.iter().rposition(|param| param.role == Role::Sender);
    if let Some(index) = sender
        && index + 1 != method.params.len()
    {
        report.error(
            &method.params[index].ty,
            "the `StreamSender` is the last parameter, where a reply would go",
        );
    }
}
