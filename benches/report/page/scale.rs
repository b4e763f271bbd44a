//! From a figure to a place in a plot.
//!
//! For plots. Times are logarithmic, and so is what is left of all blocks, so that a tail has as much room as the rest.

/// A logarithmic axis from one end to the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: f64,
    high: f64,
    /// Where the low end is, and where the high one, in the units of the drawing.
    places: (f64, f64),
}

impl Log {
    /// An axis for all of these figures, with a little room at both ends. What is not above 0 counts as nothing.
    pub(super) fn around(values: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let (low, high) = values
            .into_iter()
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        // Less than half a decade is shown as that: noise is no drama.
        let room = (1.6 / (high / low).sqrt()).max(1.12);
        Self { low: low / room, high: high * room, places }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let share = (value.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// Round figures along the axis: powers of ten, and between them 2 and 5 where there are few.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = if decades < 2.6 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = (-3..12).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// A linear axis from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    high: f64,
    places: (f64, f64),
}

impl Linear {
    pub(super) fn up_to(values: impl IntoIterator<Item = f64>, places: (f64, f64)) -> Self {
        let high = values.into_iter().filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self { high: if high > 0.0 { high * 1.06 } else { 1.0 }, places }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        self.places.0 + (value / self.high).clamp(0.0, 1.0) * (self.places.1 - self.places.0)
    }

    /// Four to eight round figures from 0.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let rough = self.high / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..9).map(|i| f64::from(i) * step).filter(|tick| *tick <= self.high).collect()
    }
}

/// An axis of shares of all blocks that stretches what is left: each nine is as long as the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nines {
    nines: f64,
    places: (f64, f64),
}

impl Nines {
    /// Long enough for the tail of so many blocks, at least to 99.9 %.
    pub(super) fn of(blocks: u64, places: (f64, f64)) -> Self {
        Self { nines: (2.0 * blocks.max(1) as f64).log10().clamp(3.0, 6.0), places }
    }

    /// The place of a share below 1; of all blocks, the end.
    pub(super) fn place(&self, share: f64) -> f64 {
        let nines = -(1.0 - share.clamp(0.0, 1.0)).log10();
        self.places.0 + (nines / self.nines).min(1.0) * (self.places.1 - self.places.0)
    }

    /// The shares that are written at the axis.
    pub(super) fn ticks(&self) -> Vec<(f64, &'static str)> {
        let all: [(f64, &str); 7] = [
            (0.0, "0 %"),
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.9999, "99.99 %"),
            (0.99999, "99.999 %"),
        ];
        all.into_iter().filter(|(share, _)| -(1.0 - share).log10() <= self.nines).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_gives_each_factor_the_same_room() {
        let axis = Log::around([1.0, 100.0], (0.0, 100.0));
        let steps = [1.0, 10.0, 100.0].map(|value| axis.place(value));
        assert!((steps[1] - steps[0] - (steps[2] - steps[1])).abs() < 1e-9 && steps[0] > 0.0);
        assert_eq!(axis.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn each_nine_has_the_same_room() {
        let axis = Nines::of(10_000, (0.0, 100.0));
        let places = [0.0, 0.9, 0.99, 0.999].map(|share| axis.place(share));
        assert!(places.windows(2).all(|pair| (pair[1] - pair[0] - places[1]).abs() < 1e-6), "{places:?}");
        assert_eq!((axis.place(1.0), axis.ticks().last().unwrap().1), (100.0, "99.99 %"));
    }

    #[test]
    fn no_figures_make_an_axis_too() {
        for axis in [Log::around([], (0.0, 9.0)), Log::around([0.0, f64::NAN], (0.0, 9.0))] {
            assert!(axis.place(5.0).is_finite() && axis.place(0.0) == 0.0);
        }
        assert!(Linear::up_to([], (0.0, 9.0)).place(0.0) == 0.0);
        assert!(Nines::of(0, (0.0, 9.0)).place(0.5).is_finite());
    }

    #[test]
    fn a_linear_axis_has_round_ticks() {
        assert_eq!(Linear::up_to([59.0], (0.0, 1.0)).ticks(), [0.0, 20.0, 40.0, 60.0]);
    }
}
