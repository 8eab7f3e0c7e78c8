//! Style and scripts, embedded at build time: our own as they are, libraries as `build.rs` has compressed them. Their address
//! carries a hash of all of them, so that browsers may keep them for ever and never mix versions.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::problem;

struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    is_compressed: bool,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// One of our own.
macro_rules! own {
    ($name:literal, $content_type:expr) => {
        Asset {
            name: $name,
            content_type: $content_type,
            content: include_bytes!(concat!("../assets/", $name)),
            is_compressed: false,
        }
    };
}

/// One that a crate carries.
macro_rules! library {
    ($name:literal, $content_type:expr) => {
        Asset {
            name: $name,
            content_type: $content_type,
            content: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
            is_compressed: true,
        }
    };
}

const ASSETS: &[Asset] = &[
    own!("style.css", STYLE),
    own!("icon.svg", "image/svg+xml"),
    own!("page.js", SCRIPT),
    own!("live.js", SCRIPT),
    own!("morph.js", SCRIPT),
    own!("orders.js", SCRIPT),
    own!("console.js", SCRIPT),
    own!("grid.js", SCRIPT),
    own!("charts.js", SCRIPT),
    own!("try.js", SCRIPT),
    own!("schema.js", SCRIPT),
    own!("api.js", SCRIPT),
    library!("plotly.js", SCRIPT),
    library!("swagger-ui-bundle.js", SCRIPT),
    library!("swagger-ui.css", STYLE),
];

/// The hash of all assets, in hexadecimal.
pub(crate) fn hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| {
        let mut hasher = DefaultHasher::new();
        for asset in ASSETS {
            (asset.name, asset.content).hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    });
    &HASH
}

/// Where the asset of that name is.
pub(crate) fn address(name: &str) -> String {
    debug_assert!(ASSETS.iter().any(|asset| asset.name == name), "no asset {name}");
    format!("/assets/{}/{name}", hash())
}

/// An asset of this version; another version's are gone.
pub(crate) async fn asset(Path((wanted, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) if wanted == hash() => respond(asset, &headers, "public, max-age=31536000, immutable"),
        _ => problem::empty(StatusCode::NOT_FOUND),
    }
}

/// The icon where browsers look for it unasked.
pub(crate) async fn icon(headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == "icon.svg") {
        Some(icon) => respond(icon, &headers, "no-cache"),
        None => problem::empty(StatusCode::NOT_FOUND),
    }
}

fn respond(asset: &Asset, headers: &HeaderMap, cache: &'static str) -> Response {
    let tag = format!("\"{}\"", hash());
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static(cache))];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.content_type)];
    if asset.is_compressed {
        // Every browser takes it; it is kept in no other form.
        return (caching, kind, [(header::CONTENT_ENCODING, "gzip")], asset.content).into_response();
    }
    (caching, kind, asset.content).into_response()
}
