//! `Pages`: the page that a client asks for most, by the counters of Misra and Gries (1982): four, whatever the number
//! of pages, exact enough for a page with more than a fifth of the requests.

/// Counters.
const PLACES: usize = 4;
/// From so many requests on a page's name is kept.
const NAMED_FROM: u32 = 8;
/// Bytes of a name that are kept.
const NAME_BYTES: usize = 120;

/// Counters of the most asked pages.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// Hash and count; what each request looks at lies together.
    places: [(u64, u32); PLACES],
    names: [Option<Box<str>>; PLACES],
}

/// The most asked page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopPage<'pages> {
    /// Requests for it, at least.
    pub requests: u32,
    /// Its name, the beginning of a long one; `None` when it was asked hardly ever.
    pub name: Option<&'pages str>,
    /// Of its name.
    pub hash: u64,
}

impl Pages {
    /// Adds a request for a page.
    pub fn add(&mut self, hash: u64, page: &[u8]) {
        let mut free = None;
        for (place, name) in self.places.iter_mut().zip(&mut self.names) {
            let (known, count) = place;
            if *count > 0 && *known == hash {
                *count = count.saturating_add(1);
                if *count == NAMED_FROM && name.is_none() {
                    let start = page.get(..NAME_BYTES.min(page.len())).unwrap_or_default();
                    *name = Some(String::from_utf8_lossy(start).into());
                }
                return;
            }
            if *count == 0 {
                free = Some((place, name));
            }
        }
        if let Some((place, name)) = free {
            (*place, *name) = ((hash, 1), None);
        } else {
            self.places.iter_mut().for_each(|(_, count)| *count -= 1);
        }
    }

    /// Reads of what each request looks at; what comes out means nothing.
    #[must_use]
    pub const fn fetch(&self) -> u64 {
        let [(hash, _), .., (last, _)] = self.places;
        hash ^ last
    }

    /// The page that was asked for most; `None` when there is none with a share worth telling.
    #[must_use]
    pub fn top(&self) -> Option<TopPage<'_>> {
        let places = self.places.iter().zip(&self.names).filter(|((_, count), _)| *count > 0);
        let ((hash, requests), name) = places.max_by_key(|((_, count), _)| *count)?;
        Some(TopPage { requests: *requests, name: name.as_deref(), hash: *hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::distinct::hash_of;

    #[test]
    fn finds_the_page_with_most_of_the_requests() {
        let mut pages = Pages::default();
        for number in 0..10_000 {
            let page = if number % 10 == 3 { format!("/{number}") } else { "/login".to_owned() };
            pages.add(hash_of(page.as_bytes()), page.as_bytes());
        }
        let top = pages.top().unwrap();
        assert_eq!(top.name, Some("/login"));
        // Each fourth of the others takes one away.
        assert!((8_700..=9_000).contains(&top.requests), "{top:?}");
        assert_eq!(Pages::default().top(), None);
    }
}
