//! One page of a list of sandboxes.

use std::cmp::Ordering;
use std::time::SystemTime;

use sandbox::SandboxId;

use super::query::Query;
use super::time::{from_micros, micros, parse_time};
use crate::api_error::ApiError;

/// The greatest number of items on a page, which is also the default.
const MAX_LIMIT: u64 = 100;

/// Which page of which order a caller asks for.
#[derive(Debug)]
pub(super) struct PageRequest {
    limit: usize,
    is_ascending: bool,
    started_after: Option<SystemTime>,
    /// The last item of the page before.
    after: Option<Position>,
}

/// The place of an item in the order: its start, and its id where two started at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    started_at: SystemTime,
    id: SandboxId,
}

impl Position {
    pub(super) fn new(started_at: SystemTime, id: SandboxId) -> Self {
        Self { started_at, id }
    }

    /// The token that continues behind this item.
    fn to_token(&self) -> String {
        format!("{}.{}", micros(self.started_at), self.id)
    }

    fn from_token(token: &str) -> Option<Self> {
        let (time, id) = token.split_once('.')?;
        Some(Self {
            started_at: from_micros(time.parse().ok()?),
            id: id.parse().ok()?,
        })
    }
}

impl PageRequest {
    pub(super) fn parse(query: &Query) -> Result<Self, ApiError> {
        let limit = query.number("limit")?.unwrap_or(MAX_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::bad_request(format!(
                "limit must be from 1 to {MAX_LIMIT}"
            )));
        }
        let is_ascending = match query.get("order") {
            None | Some("" | "desc") => false,
            Some("asc") => true,
            Some(_other) => return Err(ApiError::bad_request("order must be asc or desc")),
        };
        let started_after = match query.get("startedAfter").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(parse_time(text).ok_or_else(|| {
                ApiError::bad_request(
                    "startedAfter must be a time such as 2026-01-31T12:00:00Z (RFC 3339)",
                )
            })?),
        };
        let after = match query.get("nextToken").filter(|text| !text.is_empty()) {
            None => None,
            Some(token) => Some(Position::from_token(token).ok_or_else(|| {
                ApiError::bad_request("nextToken is none that this server has sent")
            })?),
        };
        // It is at most 100.
        Ok(Self {
            limit: limit as usize,
            is_ascending,
            started_after,
            after,
        })
    }

    /// Sorts the items and cuts the page out. Returns it with the token of the next one, unless it is the last.
    pub(super) fn cut<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        position: impl Fn(&T) -> Position,
    ) -> (Vec<T>, Option<String>) {
        let mut kept: Vec<(Position, T)> = items
            .into_iter()
            .map(|item| (position(&item), item))
            .filter(|(position, _)| {
                self.started_after
                    .is_none_or(|after| position.started_at >= after)
            })
            .filter(|(position, _)| {
                self.after
                    .as_ref()
                    .is_none_or(|after| self.compare(position, after) == Ordering::Greater)
            })
            .collect();
        kept.sort_by(|(left, _), (right, _)| self.compare(left, right));
        let is_last = kept.len() <= self.limit;
        kept.truncate(self.limit);
        let next = kept
            .last()
            .filter(|_| !is_last)
            .map(|(position, _)| position.to_token());
        (kept.into_iter().map(|(_, item)| item).collect(), next)
    }

    fn compare(&self, left: &Position, right: &Position) -> Ordering {
        if self.is_ascending {
            left.cmp(right)
        } else {
            right.cmp(left)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Position> {
        // Two started at the same time.
        [(30, "c"), (10, "a"), (20, "b"), (20, "bb"), (40, "d")]
            .map(|(time, id)| Position::new(from_micros(time), id.parse().unwrap()))
            .into()
    }

    fn pages(query: &str) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut token = String::new();
        loop {
            let query = format!("{query}&nextToken={token}");
            let request = PageRequest::parse(&Query::parse(Some(&query)).unwrap()).unwrap();
            let (page, next) = request.cut(items(), Clone::clone);
            pages.push(page.iter().map(|item| item.id.to_string()).collect());
            match next {
                Some(next) => token = next,
                None => return pages,
            }
        }
    }

    #[test]
    fn pages_have_every_item_once_in_order() {
        assert_eq!(
            pages("limit=2"),
            [vec!["d", "c"], vec!["bb", "b"], vec!["a"]]
        );
        assert_eq!(
            pages("limit=2&order=asc"),
            [vec!["a", "b"], vec!["bb", "c"], vec!["d"]]
        );
        // A page that is exactly full is the last one.
        assert_eq!(pages("limit=5").len(), 1);
        assert_eq!(
            pages("startedAfter=1970-01-01T00:00:00.000030Z"),
            [vec!["d", "c"]]
        );
        assert_eq!(
            pages("startedAfter=2100-01-01T00:00:00%2B00:00"),
            [Vec::<String>::new()]
        );
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for query in [
            "limit=0",
            "limit=101",
            "limit=x",
            "order=up",
            "startedAfter=now",
            "nextToken=x",
            "nextToken=1.X!",
        ] {
            let query = Query::parse(Some(query)).unwrap();
            assert!(PageRequest::parse(&query).is_err());
        }
    }
}
