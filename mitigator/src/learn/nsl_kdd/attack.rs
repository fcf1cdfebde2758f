//! The attacks of NSL-KDD and the class of each.
//!
//! The classes are those by which the KDD Cup of 1999 counted its results. Tables that are copied around differ from it: they
//! have `worm` twice, as dos and as r2l, and `snmpgetattack` as dos, which reads a management table and floods nobody; some
//! have `httptunnel` as r2l. Here `worm` and `snmpgetattack` are r2l, `httptunnel` is u2r, and each name stands once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a connection is, in the order in which figures are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// No attack.
    Benign,
    /// Denial of service.
    Dos,
    /// Looking for hosts, ports and weaknesses.
    Probe,
    /// Remote to local: access without an account.
    R2l,
    /// User to root: more rights than the account has.
    U2r,
}

impl Class {
    /// All of them; a class's number is its place here.
    pub const ALL: [Self; 5] = [Self::Benign, Self::Dos, Self::Probe, Self::R2l, Self::U2r];

    /// As reports spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Dos => "dos",
            Self::Probe => "probe",
            Self::R2l => "r2l",
            Self::U2r => "u2r",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A label of the data set.
#[derive(Debug, PartialEq, Eq)]
pub struct Attack {
    /// As the data set spells it.
    pub name: &'static str,
    /// What it counts as.
    pub class: Class,
    /// Whether `KDDTrain+` has it; the others are met in `KDDTest+` alone.
    pub is_in_training: bool,
}

impl Attack {
    /// The label of that name; `None` when the data set has none.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ATTACKS.iter().find(|attack| attack.name == name)
    }
}

const fn known(name: &'static str, class: Class) -> Attack {
    Attack { name, class, is_in_training: true }
}

const fn unseen(name: &'static str, class: Class) -> Attack {
    Attack { name, class, is_in_training: false }
}

/// Every label: `normal`, 22 attacks that the training file has, and 17 that only the test file has.
pub static ATTACKS: [Attack; 40] = [
    known("normal", Class::Benign),
    known("back", Class::Dos),
    known("land", Class::Dos),
    known("neptune", Class::Dos),
    known("pod", Class::Dos),
    known("smurf", Class::Dos),
    known("teardrop", Class::Dos),
    unseen("apache2", Class::Dos),
    unseen("mailbomb", Class::Dos),
    unseen("processtable", Class::Dos),
    unseen("udpstorm", Class::Dos),
    known("ipsweep", Class::Probe),
    known("nmap", Class::Probe),
    known("portsweep", Class::Probe),
    known("satan", Class::Probe),
    unseen("mscan", Class::Probe),
    unseen("saint", Class::Probe),
    known("ftp_write", Class::R2l),
    known("guess_passwd", Class::R2l),
    known("imap", Class::R2l),
    known("multihop", Class::R2l),
    known("phf", Class::R2l),
    known("spy", Class::R2l),
    known("warezclient", Class::R2l),
    known("warezmaster", Class::R2l),
    unseen("named", Class::R2l),
    unseen("sendmail", Class::R2l),
    unseen("snmpgetattack", Class::R2l),
    unseen("snmpguess", Class::R2l),
    unseen("worm", Class::R2l),
    unseen("xlock", Class::R2l),
    unseen("xsnoop", Class::R2l),
    known("buffer_overflow", Class::U2r),
    known("loadmodule", Class::U2r),
    known("perl", Class::U2r),
    known("rootkit", Class::U2r),
    unseen("httptunnel", Class::U2r),
    unseen("ps", Class::U2r),
    unseen("sqlattack", Class::U2r),
    unseen("xterm", Class::U2r),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_label_stands_once_and_counts_as_the_cup_counted() {
        let names: BTreeSet<_> = ATTACKS.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), ATTACKS.len());
        for (class, in_training, in_all) in [
            (Class::Benign, 1, 1),
            (Class::Dos, 6, 10),
            (Class::Probe, 4, 6),
            (Class::R2l, 8, 15),
            (Class::U2r, 4, 8),
        ] {
            let of_class: Vec<_> = ATTACKS.iter().filter(|attack| attack.class == class).collect();
            let known = of_class.iter().filter(|attack| attack.is_in_training).count();
            assert_eq!((known, of_class.len()), (in_training, in_all), "{class}");
        }
        for (name, class) in [
            ("worm", Class::R2l),
            ("snmpgetattack", Class::R2l),
            ("httptunnel", Class::U2r),
            ("normal", Class::Benign),
        ] {
            assert_eq!(Attack::named(name).map(|attack| attack.class), Some(class), "{name}");
        }
        assert_eq!(Attack::named("Neptune"), None);
        for (number, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
        }
    }
}
