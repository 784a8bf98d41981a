//! A Raspberry Pi's own complaints about its power supply: the usual cause of cards that fail and machines that vanish.

use std::fs;

use super::{Machine, Symptom, fine, note, sick};

/// The firmware's word of bits, in hexadecimal.
const THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";
const UNDER_VOLTAGE_NOW: u32 = 1;
const UNDER_VOLTAGE_SINCE_BOOT: u32 = 1 << 16;
const CURE: &str = "another power supply, or a shorter cable";

pub fn check(_: &Machine) -> Vec<Symptom> {
    let word = fs::read_to_string(THROTTLED).ok();
    let bits = word.and_then(|word| u32::from_str_radix(word.trim().trim_start_matches("0x"), 16).ok());
    bits.map(judge).into_iter().collect()
}

fn judge(bits: u32) -> Symptom {
    if bits & UNDER_VOLTAGE_NOW != 0 {
        sick("the voltage is too low", CURE)
    } else if bits & UNDER_VOLTAGE_SINCE_BOOT != 0 {
        note("the voltage has been too low since boot", CURE)
    } else {
        fine("enough of it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    #[test]
    fn low_voltage_is_sick_now_and_a_note_later() {
        let cases = [(0, Health::Fine), (0x5_0005, Health::Sick), (0x5_0000, Health::Note), (0x4, Health::Fine)];
        for (bits, health) in cases {
            assert_eq!(judge(bits).health, health, "{bits:x}");
        }
    }
}
