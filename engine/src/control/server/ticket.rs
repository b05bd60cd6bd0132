//! What the epoll set knows a client by.

/// A position among the clients, which may be another client's later, and a number that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    position: u32,
    number: u32,
}

impl Ticket {
    pub fn new(position: usize, number: u32) -> Self {
        Self { position: position as u32, number }
    }

    /// Back from [`data`](Self::data).
    pub fn of(data: u64) -> Self {
        Self { position: data as u32, number: (data >> 32) as u32 }
    }

    /// As the set has it.
    pub fn data(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.position)
    }

    pub fn position(self) -> usize {
        self.position as usize
    }
}
