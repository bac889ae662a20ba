use super::tls::Protocols;

/// The listeners of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerName {
    /// The contracts over HTTP.
    Check,
    /// `ext-authz` over gRPC.
    Grpc,
    /// The SPOE agent.
    Spoe,
    /// Paths for browsers and identity providers.
    Browser,
    /// Curfew as a reverse proxy.
    Proxy,
    /// The admin API and the console.
    Admin,
    /// Metrics and health probes.
    Ops,
}

impl ListenerName {
    /// All listeners.
    pub const ALL: [Self; 7] = [
        Self::Check,
        Self::Grpc,
        Self::Spoe,
        Self::Browser,
        Self::Proxy,
        Self::Admin,
        Self::Ops,
    ];

    /// Returns the name in the configuration and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Grpc => "grpc",
            Self::Spoe => "spoe",
            Self::Browser => "browser",
            Self::Proxy => "proxy",
            Self::Admin => "admin",
            Self::Ops => "ops",
        }
    }

    /// Returns the protocols that the listener offers in a TLS handshake.
    #[must_use]
    pub const fn protocols(self) -> Protocols {
        match self {
            Self::Grpc => Protocols::Http2,
            Self::Spoe => Protocols::None,
            Self::Check | Self::Browser | Self::Proxy | Self::Admin | Self::Ops => Protocols::Http,
        }
    }
}

/// One value for each listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerListener<T>([T; ListenerName::ALL.len()]);

impl<T> PerListener<T> {
    /// Creates the value of each listener with `create`.
    #[must_use]
    pub fn from_fn(create: impl FnMut(ListenerName) -> T) -> Self {
        Self(ListenerName::ALL.map(create))
    }

    /// Returns the value of a listener.
    #[must_use]
    pub const fn get(&self, name: ListenerName) -> &T {
        &self.0[name as usize]
    }

    /// Returns the values with `convert` applied.
    #[must_use]
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> PerListener<U> {
        PerListener(self.0.map(convert))
    }

    /// Returns the listeners with their values.
    pub fn iter(&self) -> impl Iterator<Item = (ListenerName, &T)> {
        ListenerName::ALL.into_iter().zip(&self.0)
    }
}

impl<T, E> PerListener<Result<T, E>> {
    /// Returns the values of all listeners.
    ///
    /// # Errors
    /// The first error, if a listener has an error instead of a value.
    pub fn transpose(self) -> Result<PerListener<T>, E> {
        let [check, grpc, spoe, browser, proxy, admin, ops] = self.0;
        Ok(PerListener([
            check?, grpc?, spoe?, browser?, proxy?, admin?, ops?,
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_has_its_own_value() {
        let names = PerListener::from_fn(ListenerName::as_str);
        for name in ListenerName::ALL {
            assert_eq!(*names.get(name), name.as_str());
        }
        assert!(names.iter().all(|(name, value)| name.as_str() == *value));
    }
}
