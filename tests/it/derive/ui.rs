//! What the compiler says: each mistake that an author is likely to make has its error at the author's own
//! tokens, and only that error; right uses are quiet under the strictest lints. Run with
//! `TRYBUILD=overwrite` to accept changed messages.

#[test]
fn messages() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
