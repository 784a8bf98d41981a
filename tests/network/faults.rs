//! What goes wrong between machines: cables, one-way silence, lost packets.

use super::lab::{Lab, ip_all, nft, tc};

const TABLE: &str = "table inet faults";

impl Lab {
    /// Pull the machine's cable out of the switch.
    pub fn pull_cable(&self, name: &str) {
        ip_all(&self.switch(), &[format!("link set p{} down", self.port(name))]);
    }

    pub fn plug_cable(&self, name: &str) {
        ip_all(&self.switch(), &[format!("link set p{} up", self.port(name))]);
    }

    /// `to` no longer hears `from`; the other way it goes on.
    pub fn block(&self, from: &str, to: &str) {
        let rule = format!("ip saddr {} drop", self.address(from));
        self.filter(to, &rule);
    }

    /// Nobody of `one` hears anybody of `other`, and the other way round.
    pub fn part(&self, one: &[&str], other: &[&str]) {
        for a in one {
            for b in other {
                self.block(a, b);
                self.block(b, a);
            }
        }
    }

    /// Each packet that comes in by cable, anywhere, is lost with this chance.
    pub fn lose(&self, percent: u32) {
        for name in self.names() {
            self.filter(name, &format!("iifname \"eth0\" numgen random mod 100 < {percent} drop"));
        }
    }

    /// Nobody sends more than so much a second, and what waits to be sent waits in a short line.
    pub fn slow(&self, kbit: u32) {
        for name in self.names() {
            let queue = format!("qdisc replace dev eth0 root tbf rate {kbit}kbit burst 16kb latency 400ms");
            tc(self.namespace(name), &queue);
        }
    }

    /// End all of it, but for cables and slowness.
    pub fn heal(&self) {
        for name in self.names() {
            nft(self.namespace(name), &format!("add {TABLE}\ndelete {TABLE}\n"));
        }
    }

    fn filter(&self, name: &str, rule: &str) {
        let chain = "add chain inet faults heard { type filter hook input priority 0 ; }";
        nft(self.namespace(name), &format!("add {TABLE}\n{chain}\nadd rule inet faults heard {rule}\n"));
    }
}
