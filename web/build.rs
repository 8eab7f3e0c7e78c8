//! Takes the libraries of the page out of the crates that carry them, and compresses each once: the charts'
//! (`plotly.js`) and the API's (`swagger-ui`). The daemon holds them compressed and sends them so; nothing is fetched, and no
//! copy of them stands in this repository.

use std::{
    env, fs,
    io::{Cursor, Read as _, Write as _},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let folder = env::var_os("OUT_DIR").expect("cargo says where to write");
    let write = |name: &str, content: &[u8]| {
        fs::write(Path::new(&folder).join(format!("{name}.gz")), compressed(content))
            .expect("a file can be written");
    };
    write("plotly.js", plotly().as_bytes());
    let mut archive =
        ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("the crate carries a zip archive");
    for name in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        write(name, &member(&mut archive, &format!("/dist/{name}")));
    }
}

/// The first of the scripts that the crate would put into a page; the others set formulas, of which we have none.
fn plotly() -> String {
    let markup = plotly::Plot::offline_js_sources();
    let script =
        markup.split_once('>').and_then(|(_, rest)| rest.split_once("</script>")).map(|(script, _)| script);
    let script = script.filter(|script| script.contains("plotly.js v")).expect("the crate carries plotly.js");
    script.to_owned()
}

fn member(archive: &mut ZipArchive<Cursor<&[u8]>>, end: &str) -> Vec<u8> {
    let names = archive.file_names().filter_map(Result::ok).map(|name| name.into_owned());
    let name = names
        .into_iter()
        .find(|name| name.ends_with(end))
        .unwrap_or_else(|| panic!("the archive has no {end}"));
    let mut content = Vec::new();
    archive.by_name(&name).expect("it is there").read_to_end(&mut content).expect("it can be read");
    content
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}
