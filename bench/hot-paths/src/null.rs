//! A service that does nothing: the paper's micro-benchmark (section 4.1).
//!
//! Requests and results have any size: the first four bytes of a request (little endian) say how
//! many zeros the result has; a shorter request has an empty result.

use webbft_protocol::execution::{Answer, Context, RestoreError, Service};
use webbft_protocol::membership::Cid;

/// The service. It has no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

/// The result for a request.
#[must_use]
pub fn result(request: &[u8]) -> Vec<u8> {
    let size = request.first_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size));
    vec![0; size as usize]
}

/// A request of `size` bytes whose result has as many; below four bytes it has none.
#[must_use]
pub fn request(size: usize) -> Vec<u8> {
    let mut request = vec![0; size];
    if let Some(first) = request.first_chunk_mut::<4>() {
        *first = u32::try_from(size).expect("a request is far below 4 GiB").to_le_bytes();
    }
    request
}

impl Service for Null {
    fn admit(operation: &[u8]) -> Result<(), String> {
        let size = operation.first_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size));
        if size > 1 << 20 {
            return Err(format!("a result of {size} bytes; at most {} are allowed", 1 << 20));
        }
        Ok(())
    }

    fn execute(&mut self, operation: &[u8], _: &mut Context<'_>) -> Vec<u8> {
        result(operation)
    }

    fn query(&self, query: &[u8]) -> Answer {
        let result = if Self::admit(query).is_ok() { result(query) } else { Vec::new() };
        // Nothing ever changes a result.
        Answer { result, as_of: Some(Cid::ZERO) }
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(_: &[u8]) -> Result<Self, RestoreError> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_size_asked_for() {
        for size in [0, 3, 4, 1024] {
            let expected = if size < 4 { 0 } else { size };
            assert_eq!(result(&request(size)), vec![0; expected], "{size}");
        }
        assert!(Null::admit(&(2_u32 << 20).to_le_bytes()).is_err());
    }
}
