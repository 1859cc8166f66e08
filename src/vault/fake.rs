//! Parts of vaults that tests make up.

/// The reads of a [`Source`](super::Source) that expects none.
macro_rules! expects_no_read {
    () => {
        async fn read_provisioned(
            &mut self,
            _: &$crate::model::SecretName,
        ) -> Result<$crate::model::SecretSet, $crate::vault::error::FetchError> {
            panic!("nothing is read")
        }

        async fn read_application(
            &mut self,
        ) -> Result<$crate::model::Bundle, $crate::vault::error::FetchError> {
            panic!("nothing is read")
        }

        async fn read_secrets(
            &mut self,
        ) -> Result<$crate::model::Bundle, $crate::vault::error::FetchError> {
            panic!("nothing is read")
        }

        async fn read_secret(
            &mut self,
            _: &$crate::model::SecretName,
        ) -> Result<$crate::model::SecretSet, $crate::vault::error::FetchError> {
            panic!("nothing is read")
        }
    };
}

pub(crate) use expects_no_read;
