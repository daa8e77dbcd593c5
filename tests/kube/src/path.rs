//! What a request asks for, from its path and query.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// A path below a group's version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The API group; empty for the core's.
    pub group: String,
    /// Its version.
    pub version: String,
    /// The kind's name in paths.
    pub plural: String,
    /// Where one is named.
    pub namespace: Option<String>,
    /// Where one is named.
    pub name: Option<String>,
    /// `status`, `exec` and the like.
    pub subresource: Option<String>,
}

impl Target {
    /// Reads a path; `None` for one that names no kind of object.
    #[must_use]
    pub fn read(path: &str) -> Option<Self> {
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let own = |text: &str| Some(text.to_owned());
        let mut target =
            Self { group: group.to_owned(), version: version.to_owned(), ..Self::default() };
        let rest = match rest {
            // A namespace's own subresources look like kinds within it.
            ["namespaces", namespace, kind, more @ ..]
                if !(group.is_empty() && ["status", "finalize"].contains(kind)) =>
            {
                target.namespace = own(namespace);
                target.plural = (*kind).to_owned();
                more
            }
            [kind, more @ ..] => {
                target.plural = (*kind).to_owned();
                more
            }
            [] => return None,
        };
        match rest {
            [] => {}
            [name] => target.name = own(name),
            [name, subresource] => {
                target.name = own(name);
                target.subresource = own(subresource);
            }
            _ => return None,
        }
        Some(target)
    }
}

/// The parameters of a request. Of several with one name the last counts, except in `all`.
#[derive(Clone, Debug, Default)]
pub struct Query {
    one: BTreeMap<String, String>,
    all: Vec<(String, String)>,
}

impl Query {
    /// Reads the part behind the question mark.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let decode = |part: &str| {
            percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let all: Vec<_> = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        Self { one: all.iter().cloned().collect(), all }
    }

    /// One parameter that is not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.one.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is set to true.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
    }

    /// Every value of a parameter, in order.
    #[must_use]
    pub fn every(&self, name: &str) -> Vec<String> {
        let named = self.all.iter().filter(|(at, _)| at == name);
        named.map(|(_, value)| value.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_namespace_is_an_object_and_a_place() {
        let read = |path: &str| Target::read(path).unwrap();
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(read("/api/v1/namespaces/a").name, own("a"));
        assert_eq!(read("/api/v1/namespaces/a/status").subresource, own("status"));
        let pod = read("/api/v1/namespaces/a/pods/p/exec");
        assert_eq!((pod.namespace, pod.name), (own("a"), own("p")));
        assert_eq!((pod.plural.as_str(), pod.subresource), ("pods", own("exec")));
        assert_eq!(read("/apis/g.io/v1/things").plural, "things");
        assert_eq!(Target::read("/apis/g.io/v1"), None);
    }
}
