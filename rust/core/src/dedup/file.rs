//! The file format of an index.
//!
//! All numbers are little-endian: a magic number of eight bytes; version, unit,
//! n and permutations (u32 each); threshold (f64); seed, number of rows and
//! number of sets (u64 each); the set of each row (u32); the size of each set
//! (u32); the hashes of the sets, ascending within a set (u64); and the XXH3 of
//! all preceding bytes (u64). Tags and clusters are recomputed on loading, so
//! they cannot be inconsistent with the sets.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::index::{NearDuplicateIndex, Options, fingerprint};
use super::shingles::Unit;
use crate::Error;

const MAGIC: &[u8; 8] = b"SRLMNEAR";
/// Must be increased with any change of the format, the normal form of texts,
/// the hashes or the signatures.
const VERSION: u32 = 2;

impl NearDuplicateIndex {
    /// Saves the index atomically. Equal indexes have equal files.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = Path::new(&partial);
        self.write(partial)
            .and_then(|()| fs::rename(partial, path))
            .map_err(|source| {
                // Removes the partial file; the first error is reported.
                let _ = fs::remove_file(partial);
                file_error(path, source)
            })
    }

    /// Loads an index written by [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a saved index, or is damaged.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|source| file_error(path, source))?;
        read(&bytes).map_err(|problem| Error::InvalidIndexFile {
            path: path.display().to_string(),
            problem,
        })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(HashingWriter {
            file: File::create(path)?,
            hash: Xxh3::new(),
        });
        let options = self.options();
        out.write_all(MAGIC)?;
        let (ngram, permutations) = (options.ngram as u32, options.permutations as u32);
        for value in [VERSION, options.unit as u32, ngram, permutations] {
            out.write_all(&value.to_le_bytes())?;
        }
        let (rows, sets) = (self.len() as u64, self.sets().len() as u64);
        for value in [options.threshold.to_bits(), options.seed, rows, sets] {
            out.write_all(&value.to_le_bytes())?;
        }
        for set in self.rows() {
            out.write_all(&set.to_le_bytes())?;
        }
        for set in self.sets() {
            out.write_all(&(set.len() as u32).to_le_bytes())?;
        }
        for hash in self.sets().iter().flatten() {
            out.write_all(&hash.to_le_bytes())?;
        }
        let HashingWriter { mut file, hash } = out.into_inner()?;
        file.write_all(&hash.digest().to_le_bytes())?;
        file.sync_all()
    }
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.display().to_string(),
        source,
    }
}

/// A file and the hash of the bytes written to it.
struct HashingWriter {
    file: File,
    hash: Xxh3,
}

impl Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The index in these bytes, or the problem with them.
fn read(bytes: &[u8]) -> Result<NearDuplicateIndex, &'static str> {
    if !bytes.starts_with(MAGIC) {
        return Err("not a saved near-duplicate index");
    }
    let mut header = Reader(&bytes[MAGIC.len()..]);
    if header.u32()? != VERSION {
        return Err("saved by another version of srlm; build it again");
    }
    let Some((body, sum)) = bytes.split_last_chunk::<8>() else {
        return Err(TRUNCATED);
    };
    if xxh3_64(body) != u64::from_le_bytes(*sum) {
        return Err("damaged: the checksum does not match");
    }
    read_body(Reader(&body[MAGIC.len() + 4..]))
}

const TRUNCATED: &str = "damaged: the file is truncated";
const INCONSISTENT: &str = "damaged: its parts are inconsistent";

fn read_body(mut body: Reader) -> Result<NearDuplicateIndex, &'static str> {
    let unit = match body.u32()? {
        0 => Unit::Word,
        1 => Unit::Char,
        _ => return Err(INCONSISTENT),
    };
    let options = Options {
        unit,
        ngram: body.u32()? as usize,
        permutations: body.u32()? as usize,
        threshold: f64::from_bits(body.u64()?),
        seed: body.u64()?,
    };
    let mut index = NearDuplicateIndex::new(options).map_err(|_| INCONSISTENT)?;
    let (rows, sets) = (body.u64()?, body.u64()?);
    let rows = body.u32s(rows)?;
    let mut sizes = body.u32s(sets)?.into_iter();
    for set in rows {
        let known = index.sets().len();
        if (set as usize) < known {
            index.insert_known(set);
        } else {
            let hashes = body.set(sizes.next().ok_or(INCONSISTENT)?)?;
            index.insert(fingerprint(&hashes), hashes);
        }
        if index.rows().last() != Some(&set) {
            return Err(INCONSISTENT);
        }
    }
    if sizes.next().is_some() || !body.0.is_empty() {
        return Err(INCONSISTENT);
    }
    index.join_from(0);
    Ok(index)
}

/// The remaining bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], &'static str> {
        let len = usize::try_from(len).map_err(|_| TRUNCATED)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32s(self.take(4)?).next().expect("four bytes"))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        Ok(u64s(self.take(8)?).next().expect("eight bytes"))
    }

    fn u32s(&mut self, len: u64) -> Result<Vec<u32>, &'static str> {
        Ok(u32s(self.take(len.saturating_mul(4))?).collect())
    }

    /// A set of hashes, ascending.
    fn set(&mut self, len: u32) -> Result<Box<[u64]>, &'static str> {
        let set: Box<[u64]> = u64s(self.take(8 * u64::from(len))?).collect();
        set.is_sorted_by(|a, b| a < b)
            .then_some(set)
            .ok_or(INCONSISTENT)
    }
}

fn u32s(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let pieces = bytes.chunks_exact(4);
    pieces.map(|piece| u32::from_le_bytes(piece.try_into().expect("four bytes")))
}

fn u64s(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let pieces = bytes.chunks_exact(8);
    pieces.map(|piece| u64::from_le_bytes(piece.try_into().expect("eight bytes")))
}
