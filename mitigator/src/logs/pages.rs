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
    places: [Place; PLACES],
}

#[derive(Clone, Debug, Default)]
struct Place {
    hash: u64,
    count: u32,
    name: Option<Box<str>>,
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
        for (number, place) in self.places.iter_mut().enumerate() {
            if place.count > 0 && place.hash == hash {
                place.count = place.count.saturating_add(1);
                if place.count == NAMED_FROM && place.name.is_none() {
                    let start = page.get(..NAME_BYTES.min(page.len())).unwrap_or_default();
                    place.name = Some(String::from_utf8_lossy(start).into());
                }
                return;
            }
            if place.count == 0 {
                free = Some(number);
            }
        }
        match free.and_then(|number| self.places.get_mut(number)) {
            Some(place) => *place = Place { hash, count: 1, name: None },
            None => self.places.iter_mut().for_each(|place| place.count -= 1),
        }
    }

    /// The page that was asked for most; `None` when there is none with a share worth telling.
    #[must_use]
    pub fn top(&self) -> Option<TopPage<'_>> {
        let place = self.places.iter().filter(|place| place.count > 0).max_by_key(|place| place.count)?;
        Some(TopPage { requests: place.count, name: place.name.as_deref(), hash: place.hash })
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
