//! `Table`: a pinned hash or trie map with typed keys and values, read and written in batches.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::MapData;
use bytemuck::Pod;

use super::bpf_call;
use crate::clock::Clock;

/// Most elements per batch call: large enough that the call's own cost vanishes, small enough that the
/// buffers stay in the cache.
const BATCH: usize = 4096;
/// Elements of the first batch read from a table; the next ones go by how long it took.
const FIRST_READ: usize = 64;
/// How long one call should read. A call walks empty buckets too, and a kernel without preemption runs
/// nothing else on that CPU meanwhile: not the thread that empties a NIC's queue either, which a flood
/// fills within a millisecond. A call for a single element cannot be shortened: a table with a handful of
/// elements is walked in as many steps.
const READ_TIME: Duration = Duration::from_micros(50);

/// A map of `K` to `V`.
#[derive(Debug)]
pub struct Table<K, V> {
    map: MapData,
    name: &'static str,
    capacity: u32,
    /// Elements per read that took about [`READ_TIME`] the last time.
    read_batch: AtomicUsize,
    types: PhantomData<(K, V)>,
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// Opens the map that is pinned as `name` under `directory`.
    ///
    /// # Errors
    ///
    /// When nothing is pinned there, it may not be opened, or its elements have other sizes.
    pub fn open(directory: &Path, name: &'static str) -> Result<Self> {
        let path = directory.join(name);
        let map =
            MapData::from_pin(&path).with_context(|| format!("cannot open the map at {}", path.display()))?;
        let info = map.info().with_context(|| format!("cannot ask the kernel about the map {name}"))?;
        let found = (info.key_size() as usize, info.value_size() as usize);
        let wanted = (size_of::<K>(), size_of::<V>());
        anyhow::ensure!(
            found == wanted,
            "the map at {} has elements of {found:?} bytes where {wanted:?} are expected; \
             it was made by another version: `mitigator detach` removes it",
            path.display()
        );
        Ok(Self {
            capacity: info.max_entries(),
            map,
            name,
            read_batch: AtomicUsize::new(FIRST_READ),
            types: PhantomData,
        })
    }

    /// How many elements fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    /// The value of one key.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let mut value = V::zeroed();
        let found = bpf_call::lookup(self.fd(), bytemuck::bytes_of(key), bytemuck::bytes_of_mut(&mut value))
            .with_context(|| format!("cannot read the map {}", self.name))?;
        Ok(found.then_some(value))
    }

    /// Every element, in the map's own order. An element that is written or removed meanwhile may or
    /// may not be among them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn read_all(&self) -> Result<Vec<(K, V)>> {
        let mut elements = Vec::new();
        match self.read_in_batches(&mut elements) {
            Err(error) if bpf_call::is_refusal(&error) => {
                elements.clear();
                self.read_one_by_one(&mut elements)
            }
            result => result,
        }
        .with_context(|| format!("cannot read the map {}", self.name))?;
        Ok(elements)
    }

    fn read_in_batches(&self, elements: &mut Vec<(K, V)>) -> io::Result<()> {
        let mut batch = self.read_batch.load(Ordering::Relaxed);
        let mut keys = vec![K::zeroed(); batch];
        let mut values = vec![V::zeroed(); batch];
        // Hashes keep a bucket number in it, tries a key.
        let mut position = vec![0_u8; size_of::<K>().max(8)];
        let mut next = position.clone();
        let mut is_first = true;
        loop {
            keys.resize(keys.len().max(batch), K::zeroed());
            values.resize(values.len().max(batch), V::zeroed());
            let began = Clock::now();
            let progress = bpf_call::lookup_batch(
                self.fd(),
                (!is_first).then_some(&position),
                &mut next,
                bytemuck::cast_slice_mut(&mut keys),
                bytemuck::cast_slice_mut(&mut values),
                u32::try_from(batch).unwrap_or(u32::MAX),
            );
            let is_last = match progress.error {
                None => false,
                Some(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) => true,
                    // A single bucket holds more than fits: nothing was consumed, ask for more.
                    Some(libc::ENOSPC) if batch < self.capacity().max(BATCH) * 2 => {
                        batch *= 2;
                        continue;
                    }
                    Some(libc::EINTR | libc::EAGAIN) => continue,
                    _ => return Err(error),
                },
            };
            elements.extend(keys.iter().copied().zip(values.iter().copied()).take(progress.count));
            let took = Clock::now().monotonic().since(began.monotonic());
            // The last one ends early: that it was quick says nothing.
            if !is_last || took > READ_TIME {
                batch = next_batch(batch, took);
                self.read_batch.store(batch, Ordering::Relaxed);
            }
            if is_last {
                return Ok(());
            }
            std::mem::swap(&mut position, &mut next);
            is_first = false;
        }
    }

    fn read_one_by_one(&self, elements: &mut Vec<(K, V)>) -> io::Result<()> {
        let mut previous: Option<K> = None;
        let mut key = K::zeroed();
        // A key that vanishes under the walk restarts it; the bound keeps a busy map from holding us.
        for _ in 0..self.capacity().saturating_mul(2).max(16) {
            let after = previous.as_ref().map(bytemuck::bytes_of);
            if !bpf_call::next_key(self.fd(), after, bytemuck::bytes_of_mut(&mut key))? {
                break;
            }
            let mut value = V::zeroed();
            if bpf_call::lookup(self.fd(), bytemuck::bytes_of(&key), bytemuck::bytes_of_mut(&mut value))? {
                elements.push((key, value));
            }
            previous = Some(key);
        }
        Ok(())
    }

    /// Writes one element, in place of an older one.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses.
    pub fn insert(&self, key: &K, value: &V) -> Result<()> {
        bpf_call::update(self.fd(), bytemuck::bytes_of(key), bytemuck::bytes_of(value))
            .map_err(|error| self.explain_write(error))
    }

    /// Writes elements in batches and calls `progress` with how many are in.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses; the elements before stay written.
    pub fn insert_all(&self, keys: &[K], values: &[V], mut progress: impl FnMut(usize)) -> Result<()> {
        debug_assert_eq!(keys.len(), values.len());
        let mut done = 0;
        while done < keys.len() {
            let end = keys.len().min(done + BATCH);
            let count = u32::try_from(end - done).unwrap_or(u32::MAX);
            let batch = bpf_call::update_batch(
                self.fd(),
                bytemuck::cast_slice(keys.get(done..end).unwrap_or_default()),
                bytemuck::cast_slice(values.get(done..end).unwrap_or_default()),
                count,
            );
            match batch.error {
                None => done = end,
                Some(error) if bpf_call::is_refusal(&error) => {
                    for (key, value) in keys.iter().zip(values).skip(done).take(end - done) {
                        self.insert(key, value)?;
                    }
                    done = end;
                }
                Some(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {
                    done += batch.count;
                }
                Some(error) => return Err(self.explain_write(error)),
            }
            progress(done);
        }
        Ok(())
    }

    /// Removes one element; `false` when there was none.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn remove(&self, key: &K) -> Result<bool> {
        bpf_call::delete(self.fd(), bytemuck::bytes_of(key))
            .with_context(|| format!("cannot remove from the map {}", self.name))
    }

    /// Removes elements in batches; keys that are not there are passed over. Returns how many went.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn remove_all(&self, keys: &[K]) -> Result<usize> {
        let mut removed = 0;
        let mut done = 0;
        while done < keys.len() {
            let chunk = keys.get(done..keys.len().min(done + BATCH)).unwrap_or_default();
            let batch = bpf_call::delete_batch(
                self.fd(),
                bytemuck::cast_slice(chunk),
                u32::try_from(chunk.len()).unwrap_or(u32::MAX),
            );
            removed += batch.count;
            done += batch.count;
            if batch.error.is_some() {
                // The batch stops at a key that is missing, or the kernel has no batches: one by one.
                let rest = chunk.get(batch.count..).unwrap_or_default();
                for key in rest {
                    removed += usize::from(self.remove(key)?);
                }
                done += rest.len();
            }
        }
        Ok(removed)
    }

    fn explain_write(&self, error: io::Error) -> anyhow::Error {
        // A hash says E2BIG when it is full, a trie ENOSPC.
        if matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) {
            return anyhow::anyhow!(
                "the map {} is full: {} entries; raise its capacity in the configuration, then `mitigator detach` \
                 and `mitigator run`",
                self.name,
                self.capacity
            );
        }
        anyhow::Error::new(error).context(format!("cannot write to the map {}", self.name))
    }
}

/// How many elements to read after a call for `batch` of them took `took`.
fn next_batch(batch: usize, took: Duration) -> usize {
    let next = if took > READ_TIME {
        batch / 2
    } else if took < READ_TIME / 4 {
        batch * 2
    } else {
        batch
    };
    next.clamp(1, BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_much_at_a_time_as_the_time_allows() {
        assert_eq!(next_batch(64, Duration::from_micros(700)), 32, "sparse: a long walk for few");
        assert_eq!(next_batch(64, Duration::from_micros(30)), 64);
        assert_eq!(next_batch(64, Duration::from_micros(5)), 128, "dense");
        assert_eq!(next_batch(1, Duration::from_secs(1)), 1);
        assert_eq!(next_batch(BATCH, Duration::ZERO), BATCH);
    }
}
