//! Sums of prices, and the means that they give.

/// The number of prices of a day and their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DailyTotal {
    pub count: u64,
    /// Wide enough for more prices of 64 bits than any database holds.
    pub sum: i128,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mean {
    /// Exactly this.
    Integer(i128),
    /// The double that is nearest to it.
    Fraction(f64),
}

impl DailyTotal {
    /// Fewest prices to average; a mean of fewer would disclose single offers.
    pub const COUNT_MIN: u64 = 3;

    /// Adds `count` prices with this sum.
    pub fn add(&mut self, count: u64, sum: i128) {
        self.count += count;
        self.sum += sum;
    }

    /// The mean; `None` if there are too few prices.
    pub fn mean(self) -> Option<Mean> {
        if self.count < DailyTotal::COUNT_MIN {
            return None;
        }
        let count = i128::from(self.count);
        Some(match self.sum % count {
            0 => Mean::Integer(self.sum / count),
            _ => Mean::Fraction(divide(self.sum, self.count)),
        })
    }
}

/// The double that is nearest to `sum / count`. Dividing doubles would round twice where the sum
/// does not fit in one.
fn divide(sum: i128, count: u64) -> f64 {
    let magnitude = sum.unsigned_abs();
    // The quotient then has at least 63 bits, of which a double keeps 53, so that the last one is
    // free to record whether anything follows.
    let shift = magnitude.leading_zeros();
    let scaled = magnitude << shift;
    let count = u128::from(count);
    let quotient = (scaled / count) | u128::from(!scaled.is_multiple_of(count));
    // Rounds once, half to even. Powers of two then change the exponent alone.
    let mean = quotient as f64 / 2_f64.powi(shift as i32);
    if sum < 0 { -mean } else { mean }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mean(prices: &[i128]) -> Option<Mean> {
        let mut total = DailyTotal::default();
        prices.iter().for_each(|price| total.add(1, *price));
        total.mean()
    }

    #[test]
    fn a_mean_of_at_least_three_is_exact_or_the_nearest_double() {
        for (prices, expected) in [
            (&[][..], None),
            (&[1, 2], None),
            (&[1, 2, 3], Some(Mean::Integer(2))),
            (&[-3, -3, -3], Some(Mean::Integer(-3))),
            (&[0, 0, 0], Some(Mean::Integer(0))),
            (&[1154, 1154, 1155], Some(Mean::Fraction(3463.0 / 3.0))),
            (&[-1, 0, 0], Some(Mean::Fraction(-1.0 / 3.0))),
            (&[1, 1, 1, 0], Some(Mean::Fraction(0.75))),
            // Not a double, but exact.
            (
                &[9_007_199_254_740_993, 9_007_199_254_740_993, 9_007_199_254_740_993],
                Some(Mean::Integer(9_007_199_254_740_993)),
            ),
            // The sum rounded to a double would give one that is two higher.
            (
                &[9_007_199_254_740_993, 9_007_199_254_740_993, 9_007_199_254_740_992],
                Some(Mean::Fraction(9_007_199_254_740_992.0)),
            ),
        ] {
            assert_eq!(mean(prices), expected, "{prices:?}");
        }
    }

    /// Compares `2 * |sum| * 2^shift` with an odd multiple of `count`, in integers: `double` is
    /// nearest if it is off by at most half of its last place.
    fn is_nearest(sum: i128, count: u64, double: f64) -> bool {
        let off = |other: f64| {
            // Both are below 2^53 and whole in 2^-20, so this is exact.
            let scaled = (other * 2_f64.powi(40)) as i128;
            (scaled * i128::from(count) - (sum << 40)).abs()
        };
        let [above, below] = [double.next_up(), double.next_down()];
        off(double) <= off(above) && off(double) <= off(below)
    }

    proptest! {
        #[test]
        fn a_small_sum_is_divided_as_doubles_are(sum in -(1_i128 << 53)..(1 << 53), count in 3..1_u64 << 40) {
            prop_assert_eq!(divide(sum, count), sum as f64 / count as f64);
        }

        #[test]
        fn no_other_double_is_nearer(sum in (1_i128 << 60)..(1 << 70), count in (1_u64 << 20)..(1 << 30)) {
            // The mean is from 2^30 to 2^50, where a last place is worth at least 2^-23.
            prop_assert!(is_nearest(sum, count, divide(sum, count)));
        }
    }
}
