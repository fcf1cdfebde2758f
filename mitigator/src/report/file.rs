//! Files that reports are written to. A regular file is replaced when the new one is complete, or not at all;
//! whatever else has the name, a device or a pipe, is written through.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes a file, which keeps its mode and its owner; of a symbolic link, what it points to.
///
/// # Errors
///
/// When the file cannot be written; a regular one is then as it was.
pub fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    match Place::of(path)? {
        Place::Regular { path, standing } => replace(&path, standing.as_ref(), write),
        Place::Other => {
            // A symbolic link to nothing gets its file.
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
            finish(file, write)
        }
    }
}

/// What a path leads to.
enum Place {
    /// A regular file, or none yet.
    Regular { path: PathBuf, standing: Option<fs::Metadata> },
    /// What cannot be replaced: a device, a pipe, a link to nothing.
    Other,
}

impl Place {
    fn of(path: &Path) -> Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_file() => {
                Ok(Self::Regular { path: path.canonicalize()?, standing: Some(found) })
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
                Ok(Self::Regular { path: path.to_owned(), standing: None })
            }
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(Self::Other),
        }
    }
}

fn replace(
    path: &Path,
    standing: Option<&fs::Metadata>,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let beside = path.with_file_name(format!(".mitigator-{}.part", std::process::id()));
    let mut options = OpenOptions::new();
    // Nobody else's file or link is written to, and nobody reads what is to be private.
    options.write(true).create_new(true).mode(if standing.is_some() { 0o600 } else { 0o666 });
    let file = options.open(&beside).with_context(|| format!("cannot make {}", beside.display()))?;
    let replaced = standing
        .map_or(Ok(()), |standing| take_after(&file, standing))
        .and_then(|()| finish(file, write))
        .and_then(|()| Ok(fs::rename(&beside, path)?));
    if replaced.is_err() {
        fs::remove_file(&beside).ok();
    }
    replaced
}

fn take_after(file: &File, standing: &fs::Metadata) -> Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (standing.uid(), standing.gid()) {
        fchown(file, Some(standing.uid()), Some(standing.gid())).context("cannot keep the file's owner")?;
    }
    // After the owner, because a change of that takes bits of the mode away.
    file.set_permissions(standing.permissions()).context("cannot keep the file's mode")
}

fn finish(file: File, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn write_words(path: &Path) -> Result<()> {
        write_file(path, |out| Ok(out.write_all(b"words")?))
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::write(place("private"), "old, and longer").unwrap();
        fs::set_permissions(place("private"), Permissions::from_mode(0o640)).unwrap();
        symlink(place("private"), place("link")).unwrap();
        symlink(place("later"), place("dangling")).unwrap();
        for (written, read) in [("new", "new"), ("link", "private"), ("dangling", "later")] {
            write_words(&place(written)).unwrap();
            assert_eq!(fs::read_to_string(place(read)).unwrap(), "words", "{written}");
        }
        assert!(place("link").is_symlink() && place("dangling").is_symlink());
        assert_eq!(fs::metadata(place("private")).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5, "nothing is left beside");
    }

    #[test]
    fn a_write_that_fails_leaves_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "old").unwrap();
        assert!(write_file(&file, |_| anyhow::bail!("no")).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_is_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        write_words(&pipe).unwrap();
        assert_eq!(reader.join().unwrap(), "words");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
    }
}
