//! All quorum arithmetic, in one place (docs/protocol.md, Q).

/// The sizes of quorums among `n` replicas of which at most `f` are faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorums {
    n: usize,
    f: usize,
}

/// Numbers of replicas that do not make a fault-tolerant group: the input is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// There is no replica.
    #[error("a view needs at least one replica")]
    Empty,
    /// n < 3f + 1.
    #[error("{n} replicas cannot tolerate {f} faulty ones: at least {} are needed", 3 * f + 1)]
    TooFew {
        /// Replicas in the view.
        n: usize,
        /// Faulty replicas to be tolerated.
        f: usize,
    },
}

impl Quorums {
    /// Quorum sizes for `n` replicas, `f` of them faulty.
    ///
    /// # Errors
    /// Unless n ≥ 3f + 1 and n ≥ 1.
    pub const fn new(n: usize, f: usize) -> Result<Self, QuorumError> {
        if n == 0 {
            return Err(QuorumError::Empty);
        }
        if f > (n - 1) / 3 {
            return Err(QuorumError::TooFew { n, f });
        }
        Ok(Self { n, f })
    }

    /// The number of replicas, n.
    #[must_use]
    pub const fn n(self) -> usize {
        self.n
    }

    /// How many of them may be faulty, f.
    #[must_use]
    pub const fn f(self) -> usize {
        self.f
    }

    /// q = ⌊(n + f) / 2⌋ + 1: any two quorums share a correct replica, and the correct replicas
    /// alone make one (Q1).
    #[must_use]
    pub const fn quorum(self) -> usize {
        usize::midpoint(self.n, self.f) + 1
    }

    /// f + 1: at least one of them is correct (Q2).
    #[must_use]
    pub const fn one_correct(self) -> usize {
        self.f + 1
    }

    /// 2f + 1: at least f + 1 of them are correct, so that every correct replica learns of what
    /// they vouch for (Q3, rule A4).
    #[must_use]
    pub const fn vouchers(self) -> usize {
        2 * self.f + 1
    }

    /// q + f: at least q of them are correct (Q5). Not more than n where n = 3f + 1.
    #[must_use]
    pub const fn holding_a_quorum(self) -> usize {
        self.quorum() + self.f
    }

    /// n − f: as many as can be waited for (Q4).
    #[must_use]
    pub const fn surely_answering(self) -> usize {
        self.n - self.f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_tolerate_one() {
        let quorums = Quorums::new(4, 1).unwrap();
        assert_eq!(
            (
                quorums.quorum(),
                quorums.one_correct(),
                quorums.vouchers(),
                quorums.surely_answering()
            ),
            (3, 2, 3, 3)
        );
    }

    #[test]
    fn one_alone_is_the_baseline() {
        let quorums = Quorums::new(1, 0).unwrap();
        assert_eq!((quorums.quorum(), quorums.vouchers()), (1, 1));
    }

    #[test]
    fn refusals() {
        assert_eq!(Quorums::new(0, 0), Err(QuorumError::Empty));
        assert_eq!(Quorums::new(3, 1), Err(QuorumError::TooFew { n: 3, f: 1 }));
        assert_eq!(Quorums::new(4, usize::MAX), Err(QuorumError::TooFew { n: 4, f: usize::MAX }));
    }

    /// The properties that the protocol's arguments rest on, for every legal (n, f) up to n = 40.
    #[test]
    fn properties_for_every_size() {
        for n in 1..=40 {
            for f in 0..=n {
                let Ok(quorums) = Quorums::new(n, f) else {
                    assert!(n < 3 * f + 1, "refused n = {n}, f = {f}");
                    continue;
                };
                assert!(n > 3 * f);
                let q = quorums.quorum();
                // Two quorums overlap in at least f + 1 replicas: |A ∩ B| ≥ 2q − n.
                assert!(2 * q - n > f, "quorum intersection at n = {n}, f = {f}");
                // The smallest such number.
                assert!(2 * (q - 1) - n.min(2 * (q - 1)) <= f, "q is not minimal at {n}, {f}");
                // Faulty replicas cannot prevent a quorum.
                assert!(q <= n - f, "liveness at n = {n}, f = {f}");
                // All replicas together hold a quorum of correct ones.
                assert!(quorums.holding_a_quorum() <= n && quorums.holding_a_quorum() - f >= q);
                // A quorum contains a correct majority over any f liars.
                assert!(q > 2 * f || n == 1, "q ≥ 2f + 1 at n = {n}, f = {f}");
                assert!(quorums.vouchers() <= n - f);
                assert!(quorums.vouchers() - f >= quorums.one_correct());
                if n == 3 * f + 1 {
                    assert_eq!(q, 2 * f + 1);
                }
            }
        }
    }
}
