//! The errors of one expansion, collected so that the author sees all of them at once.

use proc_macro2::TokenStream;
use quote::ToTokens;

/// Errors found so far, each with the tokens at fault.
#[derive(Default)]
pub(crate) struct Report {
    errors: Vec<syn::Error>,
}

impl Report {
    pub(crate) fn error(&mut self, at: impl ToTokens, message: impl std::fmt::Display) {
        self.errors.push(syn::Error::new_spanned(at, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        self.errors.push(error);
    }

    /// How many there are; more after a step than before it mean that the step found some.
    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    /// The `compile_error!`s.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.errors.iter().map(syn::Error::to_compile_error).collect()
    }
}
