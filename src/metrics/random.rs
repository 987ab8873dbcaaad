//! CPython's random numbers (`random.Random(seed)`): the Mersenne Twister MT19937 of Matsumoto and Nishimura, seeded as
//! `init_by_array` does, with the ways in which `gauss`, `choice` and `random` draw from it. Harnesses in
//! Python place answers and order questions by it.

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// `random.Random`.
pub struct Random {
    state: [u32; SIZE],
    next: usize,
    /// The second of two normal numbers that are drawn together.
    spare: Option<f64>,
}

impl Random {
    /// `random.Random(seed)` of a seed of 32 bits.
    pub fn new(seed: u32) -> Self {
        let mut state = [19_650_218_u32; SIZE];
        for i in 1..SIZE {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        let mut i = 1;
        let mixed = |state: &mut [u32; SIZE], i: &mut usize, factor: u32, add: &dyn Fn(usize) -> u32| {
            let last = state[*i - 1];
            state[*i] = (state[*i] ^ (last ^ (last >> 30)).wrapping_mul(factor)).wrapping_add(add(*i));
            *i += 1;
            if *i == SIZE {
                state[0] = state[SIZE - 1];
                *i = 1;
            }
        };
        for _ in 0..SIZE {
            mixed(&mut state, &mut i, 1_664_525, &|_| seed);
        }
        for _ in 1..SIZE {
            mixed(&mut state, &mut i, 1_566_083_941, &|at| (at as u32).wrapping_neg());
        }
        state[0] = 0x8000_0000;
        Self { state, next: SIZE, spare: None }
    }

    /// The next 32 bits.
    fn draw(&mut self) -> u32 {
        if self.next == SIZE {
            for i in 0..SIZE {
                let bits = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % SIZE] & 0x7fff_ffff);
                let twist = if bits & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + SHIFT) % SIZE] ^ (bits >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut bits = self.state[self.next];
        self.next += 1;
        bits ^= bits >> 11;
        bits ^= (bits << 7) & 0x9d2c_5680;
        bits ^= (bits << 15) & 0xefc6_0000;
        bits ^ (bits >> 18)
    }

    /// `random()`: 53 bits, from 0 up to 1.
    pub fn uniform(&mut self) -> f64 {
        let (high, low) = (f64::from(self.draw() >> 5), f64::from(self.draw() >> 6));
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `gauss(0.0, 1.0)`.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let angle = self.uniform() * std::f64::consts::TAU;
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        self.spare = Some(angle.sin() * radius);
        angle.cos() * radius
    }

    /// `shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// `sample(range(count), wanted)`.
    pub fn sample(&mut self, count: usize, wanted: usize) -> Vec<usize> {
        let wanted = wanted.min(count);
        let mut size = 21;
        if wanted > 5 {
            size += 4_usize.pow((wanted as f64 * 3.0).log(4.0).ceil() as u32);
        }
        if count > size {
            let mut chosen = Vec::with_capacity(wanted);
            while chosen.len() < wanted {
                let place = self.below(count);
                if !chosen.contains(&place) {
                    chosen.push(place);
                }
            }
            return chosen;
        }
        let mut pool: Vec<usize> = (0..count).collect();
        let draw = |left: usize, pool: &mut Vec<usize>, random: &mut Self| {
            let place = random.below(left);
            let chosen = pool[place];
            pool[place] = pool[left - 1];
            chosen
        };
        (0..wanted).map(|taken| draw(count - taken, &mut pool, self)).collect()
    }

    /// `randrange(count)`, as which `choice` draws an index; `randint(0, n)` is `below(n + 1)`. `count` is from 1 up to
    /// what 32 bits hold.
    pub fn below(&mut self, count: usize) -> usize {
        let bits = usize::BITS - count.leading_zeros();
        loop {
            let draw = (self.draw() >> (32 - bits)) as usize;
            if draw < count {
                return draw;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with CPython 3.11.
    #[expect(clippy::float_cmp, reason = "the same bits are what is asked for")]
    #[test]
    fn draws_as_cpython_does() {
        let mut random = Random::new(0);
        assert_eq!(random.uniform(), 0.844_421_851_525_048_1);
        assert_eq!(random.uniform(), 0.757_954_402_940_302_5);
        let mut random = Random::new(1234);
        let draws: Vec<_> = (0..8).map(|_| random.below(4)).collect();
        assert_eq!(draws, DRAWS);
        let mut random = Random::new(0);
        assert_eq!(random.normal(), NORMALS[0]);
        assert_eq!(random.normal(), NORMALS[1]);
    }

    /// Made with CPython 3.11: `random.Random(1234).sample(range(n), k)`, one after the other.
    #[test]
    fn samples_as_cpython_does() {
        let mut random = Random::new(1234);
        assert_eq!(random.sample(7473, 5), SAMPLE_OF_MANY);
        assert_eq!(random.sample(5, 5), SAMPLE_OF_ALL);
        assert_eq!(random.sample(40, 8), SAMPLE_OF_FEW);
        assert!(random.sample(0, 3).is_empty());
    }

    const SAMPLE_OF_MANY: [usize; 5] = [6374, 3610, 957, 61, 742];
    const SAMPLE_OF_ALL: [usize; 5] = [4, 0, 2, 3, 1];
    const SAMPLE_OF_FEW: [usize; 8] = [22, 15, 1, 37, 36, 39, 30, 29];
    const DRAWS: [usize; 8] = [3, 0, 0, 0, 0, 0, 0, 2];
    const NORMALS: [f64; 2] = [0.941_715_404_680_664_4, -1.396_578_104_701_149_8];
}
