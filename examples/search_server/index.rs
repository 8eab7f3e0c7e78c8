//! An inverted index in memory: for each word the files that have it, ranked by BM25. Reads the folder
//! once; knows nothing of services.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::api::Hit;

/// Larger files are rarely text that people search.
const LARGEST_FILE_BYTES: u64 = 1 << 20;
/// Bounds for a folder that is larger than was thought.
const MOST_FILES: usize = 20_000;
const MOST_TEXT_BYTES: usize = 256 << 20;
const SNIPPET_CHARS: usize = 160;
/// BM25: how soon more of the same word stops to count, and how much length counts.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The files of a folder, by word.
#[derive(Default)]
pub(crate) struct Index {
    documents: Vec<Document>,
    /// For each word, which documents have it how often.
    postings: HashMap<String, Vec<(u32, u32)>>,
    text_bytes: usize,
    words_in_all: usize,
}

struct Document {
    path: String,
    text: String,
    words: usize,
}

impl Index {
    /// Reads every text file below a folder, but for hidden ones and build output.
    pub(crate) fn build(folder: &Path) -> io::Result<Self> {
        let mut index = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            let mut entries: Vec<_> = fs::read_dir(&next)?.collect::<Result<_, _>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let kind = entry.file_type()?;
                if is_skipped(&entry.file_name().to_string_lossy()) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && entry.metadata()?.len() <= LARGEST_FILE_BYTES {
                    index.add_file(folder, entry.path());
                }
                if index.is_full() {
                    return Ok(index);
                }
            }
        }
        Ok(index)
    }

    fn is_full(&self) -> bool {
        self.documents.len() >= MOST_FILES || self.text_bytes >= MOST_TEXT_BYTES
    }

    fn add_file(&mut self, folder: &Path, path: PathBuf) {
        // What cannot be read, or is no text, is not searched.
        let Ok(text) = fs::read_to_string(&path) else { return };
        if !text.contains('\0') {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            self.add(name.to_string_lossy().into_owned(), text);
        }
    }

    /// Adds one document.
    pub(crate) fn add(&mut self, path: String, text: String) {
        let id = u32::try_from(self.documents.len()).expect("there are at most MOST_FILES documents");
        let mut counts: HashMap<String, u32> = HashMap::new();
        let mut words = 0;
        for word in words_of(&text).chain(words_of(&path)) {
            *counts.entry(word).or_default() += 1;
            words += 1;
        }
        for (word, count) in counts {
            self.postings.entry(word).or_default().push((id, count));
        }
        self.text_bytes += text.len();
        self.words_in_all += words;
        self.documents.push(Document { path, text, words });
    }

    /// The documents that fit best.
    pub(crate) fn search(&self, query: &str, limit: usize) -> Vec<Hit> {
        let words: HashSet<String> = words_of(query).collect();
        let mut scores: HashMap<u32, f64> = HashMap::new();
        for (id, score) in words.iter().flat_map(|word| self.scores(word)) {
            *scores.entry(id).or_default() += score;
        }
        let mut best: Vec<(u32, f64)> = scores.into_iter().collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        best.truncate(limit);
        best.into_iter()
            .map(|(id, score)| {
                let document = &self.documents[id as usize];
                let (line, snippet) = snippet(&document.text, &words);
                Hit { path: document.path.clone(), score, line, snippet }
            })
            .collect()
    }

    /// What one word adds to the score of each document that has it.
    fn scores<'a>(&'a self, word: &str) -> impl Iterator<Item = (u32, f64)> + use<'a> {
        let postings = self.postings.get(word).map_or(&[][..], Vec::as_slice);
        let (all, with) = (self.documents.len() as f64, postings.len() as f64);
        let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
        let mean_words = self.words_in_all as f64 / all.max(1.0);
        postings.iter().map(move |&(id, count)| {
            let length = self.documents[id as usize].words as f64 / mean_words.max(1.0);
            let count = f64::from(count);
            (id, rarity * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length)))
        })
    }

    /// Number of documents.
    pub(crate) fn files(&self) -> usize {
        self.documents.len()
    }

    /// Length of all texts together.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Number of different words.
    pub(crate) fn words(&self) -> usize {
        self.postings.len()
    }
}

fn is_skipped(name: &str) -> bool {
    name.starts_with('.') || matches!(name, "target" | "node_modules" | "logs" | "Cargo.lock")
}

/// The words of a text in lower case; `snake_case` is found whole and by its parts.
fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).flat_map(|word| {
        let whole = word.to_lowercase();
        let parts: Vec<String> = if whole.contains('_') {
            whole.split('_').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        } else {
            Vec::new()
        };
        std::iter::once(whole).chain(parts)
    })
}

/// The first line that has most of the words, and its number.
fn snippet(text: &str, words: &HashSet<String>) -> (u32, String) {
    let mut best = (0, 0, text.lines().next().unwrap_or(""));
    for (number, line) in text.lines().enumerate() {
        let found = words_of(line).filter(|word| words.contains(word)).collect::<HashSet<_>>().len();
        if found > best.0 {
            best = (found, number, line);
        }
        if found == words.len() {
            break;
        }
    }
    (best.1 as u32 + 1, best.2.trim().chars().take(SNIPPET_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        index.add("a.txt".into(), "rings and locks\nA ring of slots, a ring of rings".into());
        index.add("b.txt".into(), "a lock".into());
        index.add("c.rs".into(), "fn hybrid_lock() {}\n".into());
        index
    }

    #[test]
    fn the_best_comes_first_with_its_line() {
        let hits = index().search("ring slots", 10);
        assert_eq!(hits.len(), 1);
        assert_eq!((hits[0].path.as_str(), hits[0].line), ("a.txt", 2));
        assert_eq!(hits[0].snippet, "A ring of slots, a ring of rings");
    }

    #[test]
    fn identifiers_are_found_by_their_parts() {
        let paths: Vec<String> = index().search("LOCK", 10).into_iter().map(|hit| hit.path).collect();
        assert_eq!(paths.len(), 2);
        assert!(paths.contains(&"c.rs".into()) && paths.contains(&"b.txt".into()));
        assert_eq!(index().search("hybrid_lock", 1)[0].path, "c.rs");
    }

    #[test]
    fn limits_and_strange_queries_are_harmless() {
        assert!(index().search("lock", 0).is_empty());
        assert!(index().search("", 5).is_empty());
        assert!(index().search("\u{0}() [", 5).is_empty());
        assert!(Index::default().search("lock", 5).is_empty());
    }
}
