//! One file of the torn disk, in blocks that copies of the disk share until one of them is written to.

use std::sync::Arc;

pub const BLOCK_BYTES: usize = 4096;
pub const SECTOR_BYTES: usize = 512;

type Block = [u8; BLOCK_BYTES];

#[derive(Clone, Debug, Default)]
pub struct TornFile {
    pub len: usize,
    blocks: Vec<Arc<Block>>,
}

impl TornFile {
    /// Writing behind the end fills the gap with zeros, as a real file does.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.len = self.len.max(end);
        if self.blocks.len() * BLOCK_BYTES < self.len {
            let zeros = Arc::new([0; BLOCK_BYTES]);
            self.blocks.resize(self.len.div_ceil(BLOCK_BYTES), zeros);
        }
        let mut at = offset;
        while at < end {
            let within = at % BLOCK_BYTES;
            let count = (BLOCK_BYTES - within).min(end - at);
            let block = Arc::make_mut(&mut self.blocks[at / BLOCK_BYTES]);
            block[within..within + count].copy_from_slice(&bytes[at - offset..at - offset + count]);
            at += count;
        }
    }

    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.blocks.truncate(len.div_ceil(BLOCK_BYTES));
            if let Some(last) = self.blocks.last_mut().filter(|_| !len.is_multiple_of(BLOCK_BYTES)) {
                Arc::make_mut(last)[len % BLOCK_BYTES..].fill(0);
            }
        } else {
            self.blocks.resize(len.div_ceil(BLOCK_BYTES), Arc::new([0; BLOCK_BYTES]));
        }
        self.len = len;
    }

    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let end = (offset + buffer.len()).min(self.len);
        let mut at = offset;
        while at < end {
            let within = at % BLOCK_BYTES;
            let count = (BLOCK_BYTES - within).min(end - at);
            let block = &self.blocks[at / BLOCK_BYTES];
            buffer[at - offset..at - offset + count].copy_from_slice(&block[within..within + count]);
            at += count;
        }
        end.saturating_sub(offset)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }

    /// Lets the file end behind its last block that is not blank.
    pub fn forget_blank_end(&mut self) {
        let blank = Arc::new([b' '; BLOCK_BYTES]);
        let kept = self.blocks.iter().rposition(|block| **block != *blank).map_or(1, |at| at + 1);
        self.truncate(self.len.min(kept * BLOCK_BYTES));
    }
}
