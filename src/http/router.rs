//! The paths of the public API and the methods that each supports.

/// The route of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/`
    Root,
    /// `/hello/<username>`, the name still percent-encoded.
    Hello(&'a str),
    /// `/rates`
    Rates,
    /// `/health`
    Health,
    /// `/openapi.json`
    OpenApi,
    /// `*`, the server as a whole (RFC 9110, section 9.3.7).
    Server,
    /// Anything else.
    Unknown,
}

impl Route<'_> {
    /// One of each, for tests and metrics.
    pub const ALL: [Route<'static>; 7] = [
        Route::Root,
        Route::Hello("{username}"),
        Route::Health,
        Route::OpenApi,
        Route::Server,
        Route::Unknown,
        Route::Rates,
    ];

    /// Finds the route of `path`, which has no query.
    pub fn parse(path: &str) -> Route<'_> {
        let mut segments = path.split('/');
        match [segments.next(), segments.next(), segments.next(), segments.next()] {
            [Some(""), Some(""), None, None] => Route::Root,
            [Some(""), Some("hello"), Some(username), None] if !username.is_empty() => {
                Route::Hello(username)
            }
            [Some(""), Some("rates"), None, None] => Route::Rates,
            [Some(""), Some("health"), None, None] => Route::Health,
            [Some(""), Some("openapi.json"), None, None] => Route::OpenApi,
            [Some("*"), None, None, None] => Route::Server,
            _ => Route::Unknown,
        }
    }

    /// The index in `ALL`.
    pub fn number(self) -> usize {
        match self {
            Route::Root => 0,
            Route::Hello(_) => 1,
            Route::Health => 2,
            Route::OpenApi => 3,
            Route::Server => 4,
            Route::Unknown => 5,
            Route::Rates => 6,
        }
    }

    /// The pattern of the path, which contains no username.
    pub fn pattern(self) -> &'static str {
        match self {
            Route::Root => "/",
            Route::Hello(_) => "/hello/{username}",
            Route::Rates => "/rates",
            Route::Health => "/health",
            Route::OpenApi => "/openapi.json",
            Route::Server => "*",
            Route::Unknown => "unknown",
        }
    }

    /// Whether caches must not store a response, because it is about a person or the state of the
    /// service. Without `no-store` they may, even a 404 (RFC 9110, section 15.1).
    pub fn is_uncacheable(self) -> bool {
        matches!(self, Route::Hello(_) | Route::Health)
    }

    /// The supported methods, as in the `Allow` header; empty for an unknown path.
    pub fn allow(self) -> &'static str {
        match self {
            Route::Hello(_) | Route::Server => "GET, HEAD, OPTIONS, PUT",
            Route::Root | Route::Rates | Route::Health | Route::OpenApi => "GET, HEAD, OPTIONS",
            Route::Unknown => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_has_one_route() {
        for (path, route) in [
            ("/", Route::Root),
            ("/hello/John", Route::Hello("John")),
            ("/hello/Jos%C3%A9", Route::Hello("Jos%C3%A9")),
            ("/hello/%2F", Route::Hello("%2F")),
            ("/rates", Route::Rates),
            ("/rates/", Route::Unknown),
            ("/Rates", Route::Unknown),
            ("/health", Route::Health),
            ("/openapi.json", Route::OpenApi),
            ("", Route::Unknown),
            ("*", Route::Server),
            ("/*", Route::Unknown),
            ("*/", Route::Unknown),
            ("**", Route::Unknown),
            ("//", Route::Unknown),
            ("/hello", Route::Unknown),
            ("/hello/", Route::Unknown),
            ("/hello/John/", Route::Unknown),
            ("/hello/John/Doe", Route::Unknown),
            ("//hello/John", Route::Unknown),
            ("/hello//John", Route::Unknown),
            ("/Hello/John", Route::Unknown),
            ("/health/", Route::Unknown),
            ("/livez", Route::Unknown),
            ("/readyz", Route::Unknown),
            ("/metrics", Route::Unknown),
        ] {
            assert_eq!(Route::parse(path), route, "{path:?}");
        }
    }

    #[test]
    fn the_number_of_a_route_is_its_index() {
        for (number, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route.number(), number, "{route:?}");
        }
    }

    #[test]
    fn the_openapi_description_is_of_exactly_these_routes() {
        let description: serde_json::Value =
            serde_json::from_str(include_str!("openapi.json")).unwrap();
        let described: Vec<(String, String)> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, item)| {
                let mut methods: Vec<String> = item
                    .as_object()
                    .unwrap()
                    .keys()
                    .filter(|key| *key != "parameters")
                    .map(|method| method.to_uppercase())
                    .collect();
                methods.sort();
                (path.clone(), methods.join(", "))
            })
            .collect();
        let mut offered: Vec<(String, String)> = Route::ALL
            .into_iter()
            .filter(|route| !matches!(route, Route::Server | Route::Unknown))
            .map(|route| (route.pattern().to_owned(), route.allow().to_owned()))
            .collect();
        offered.sort();
        assert_eq!(described, offered);
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    proptest! {
        /// Compares the whole path rather than its segments.
        #[test]
        fn a_path_has_the_route_that_a_whole_comparison_gives(
            path in prop_oneof![
                "(/|hello|rates|health|openapi.json|%2[fF]|\\.\\.?|[a-zé]){0,6}",
                "/hello/[^/]{0,4}/?",
                any::<String>(),
            ],
        ) {
            let expected = match &*path {
                "/" => Route::Root,
                "/rates" => Route::Rates,
                "/health" => Route::Health,
                "/openapi.json" => Route::OpenApi,
                "*" => Route::Server,
                path => match path.strip_prefix("/hello/") {
                    Some(name) if !name.is_empty() && !name.contains('/') => Route::Hello(name),
                    _ => Route::Unknown,
                },
            };
            prop_assert_eq!(Route::parse(&path), expected);
        }
    }
}
