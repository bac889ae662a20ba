//! A macro for wrappers of stores. It implements methods that only call the wrapped store.

/// Implements the named methods of [`SessionStore`](crate::SessionStore). Each method calls the same method of
/// `$inner`. Use this macro in an `impl` with `#[async_trait]`; each method returns the future of the wrapped store.
macro_rules! forward {
    ($self:ident => $inner:expr; $($method:ident),+ $(,)?) => {
        $(forward!(@ $method, $self, $inner);)+
    };
    (@ load, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, load, (id: $crate::session::SessionId), Result<Option<$crate::session::Session>, $crate::StoreError>);
    };
    (@ create, $self:ident, $inner:expr) => {
        forward!(@& $self, $inner, create, (id: $crate::session::SessionId,), session: $crate::session::Session, (), Result<$crate::CreateOutcome, $crate::StoreError>);
    };
    (@ touch, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, touch, (id: $crate::session::SessionId, touch: $crate::Touch), Result<(), $crate::StoreError>);
    };
    (@ end, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, end, (id: $crate::session::SessionId, ending: $crate::EndRequest), Result<$crate::EndOutcome, $crate::StoreError>);
    };
    (@ keep_tombstone, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, keep_tombstone, (id: $crate::session::SessionId, until: $crate::session::Timestamp), Result<(), $crate::StoreError>);
    };
    (@ withdraw, $self:ident, $inner:expr) => {
        forward!(@& $self, $inner, withdraw, (id: $crate::session::SessionId,), session: $crate::session::Session, (), Result<bool, $crate::StoreError>);
    };
    (@ change, $self:ident, $inner:expr) => {
        forward!(@& $self, $inner, change, (id: $crate::session::SessionId,), change: $crate::Change, (), Result<$crate::ChangeOutcome, $crate::StoreError>);
    };
    (@ age, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, age, (id: $crate::session::SessionId, by: std::time::Duration), Result<Option<$crate::session::Session>, $crate::StoreError>);
    };
    (@ list, $self:ident, $inner:expr) => {
        forward!(@& $self, $inner, list, (), subject: $crate::session::Subject, (, after: Option<$crate::Cursor>, limit: usize), Result<$crate::Page, $crate::StoreError>);
    };
    (@ wait_replicated, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, wait_replicated, (id: $crate::session::SessionId), Result<$crate::Replication, $crate::StoreError>);
    };
    (@ ready, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, ready, (), Result<(), $crate::StoreError>);
    };
    (@ flush, $self:ident, $inner:expr) => {
        forward!(@@ $self, $inner, flush, (), Result<(), $crate::StoreError>);
    };
    (@ incarnation, $self:ident, $inner:expr) => {
        fn incarnation(&$self) -> Option<tokio::sync::watch::Receiver<u64>> {
            $inner.incarnation()
        }
    };
    // The lifetimes must be the same as those that `#[async_trait]` generates: one for each reference.
    (@@ $self:ident, $inner:expr, $method:ident, ($($name:ident: $kind:ty),*), $output:ty) => {
        fn $method<'life0, 'async_trait>(
            &'life0 $self,
            $($name: $kind),*
        ) -> std::pin::Pin<Box<dyn Future<Output = $output> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            $inner.$method($($name),*)
        }
    };
    (@& $self:ident, $inner:expr, $method:ident, ($($first_name:ident: $first_kind:ty,)?), $reference:ident: $target:ty, ($(, $name:ident: $kind:ty)*), $output:ty) => {
        fn $method<'life0, 'life1, 'async_trait>(
            &'life0 $self,
            $($first_name: $first_kind,)?
            $reference: &'life1 $target
            $(, $name: $kind)*
        ) -> std::pin::Pin<Box<dyn Future<Output = $output> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            Self: 'async_trait,
        {
            $inner.$method($($first_name,)? $reference $(, $name)*)
        }
    };
}
