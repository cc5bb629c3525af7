"""The write-ahead journal: what was seen on the wire, before anything is done with it. The specification.

One writer is one proxy process's life-long place in the journal: ``<journal>/<writer id>/``. Several processes look at
it: the writer appends, the shipper's reader reads and frees, and whoever holds the lock recovers.

Files of a writer
=================

==========================  ========================================================================================
``lock``                    held (``flock``) by the writer while it lives; never removed
``boot``                    the last boot number, replaced whole and durable before the boot's first segment exists
``BOOT-N.seg``              segments, N from 0 in each boot, preallocated, their length fixed while they exist
``BOOT-N.carry``            a carry-over: takes segment N's place; hides ``BOOT-N.seg`` if that is still there
``counted``                 calls that get no record of their own, by reason (see ``counted``)
``*.tmp``                   half-made; nobody reads it, the next boot removes it
==========================  ========================================================================================

A segment is a header of 64 bytes, frames one after another, and zeros. The header is ``LLMAUDJ`` and a line feed, then three times
format version (u16) and marker (8 random bytes of this segment), of which the majority counts. The first two frames
are the OPEN frame, twice: JSON with the boot's opening and settings, and the next sequence. A segment is *prepared*
while only its header is there and *begun* when its OPEN frame is. Segment N + 1 is begun only when N is left for good.

Frames, little endian: marker 8, kind u8, flags u8, zero u16, number u32, exchange u64, monotonic time u64 (ns),
payload length u32, CRC-32 u32, payload. The sum covers header and payload and is seeded with the frame's file
offset: a frame copied elsewhere, into a body say, is no frame. A payload has at most 1 MiB (an eighth of a small
segment); a longer piece goes on in the next frame (flag ``MORE``), and is one chunk again when read.

=====================  =============================================================================================
REQUEST                ``encode_request_start``, then the first piece of the body
REQUEST_BODY           a piece of the body
RESPONSE               ``encode_response_start``, then the first piece of the body
RESPONSE_BODY          a chunk as it came; empty only to say that the body is over
END                    sequence, count of the exchange's frames, outcome, request id, error; time: the header's
OPEN, CLOSE            of the boot; CLOSE states how many exchanges it ended
=====================  =============================================================================================

Invariants
==========

1. Frames of an exchange are numbered from 0 without a gap, and END states their count: any hole shows.
2. END frames stand in order of sequence, without a gap from 0 in each boot: a missing END frame shows.
3. After every append the END frames of all open exchanges still fit: into the rest of the segment, or into the
   next one, which is prepared. So an exchange can always be ended, on a full disk too.
4. A segment's blocks, header and name are durable before a frame is put into it. So a full disk shows when a segment
   is prepared, and "everything appended before is durable" needs one ``fdatasync`` for each segment in use.
5. The reader syncs what it read before it gives it out. So a power cut never takes back what was shipped, and no
   sequence that was shipped is ever given to another exchange.
6. A segment with an END frame is deleted only when no earlier frame of that exchange is left: files go oldest first,
   what is still open moves into carry-overs first, and each deletion is durable before the next.
7. What recovery writes is a function of the boot's frames; it gets its name in one step, and its CLOSE says it is done.

Reading what is damaged
=======================

A place without a frame is *not yet written* as long as no whole frame follows it and no later segment of the boot was
begun; then it is damaged. If one byte of its header is damaged, that byte is put back: only the right one gives the
right sum (``repair``). Else its header says whose frame it was, and the next whole frame is searched by its marker.
Gaps in the numbers decide what is damaged (1, 2); the exchange is given in its place in the sequence, with what could be
read and why it is not whole. One damaged byte costs at most one exchange, wherever it is.

After a power cut any subset of the pages since the last sync may be missing, or be there as they once were. A page that
ends in zeros before a whole frame tells such a hole from other damage: then recovery keeps each open exchange's frames
up to its first gap (flag *prefix*), and says so in its OPEN frame, by which readers do the same with exchanges whose END
frame outlived what was before it. Where
an END frame was lost and later ones stayed, recovery ends the exchange under the lost sequence (flag *late*), and the
reader, on coming to the jump, looks it up. In ``host`` durability nothing acknowledged lies behind a hole.

Each OPEN frame says from which segment on a call that was open then has frames, so recovery reads from there, and not
a backlog of gigabytes; it reads the whole boot where it meets anything but a torn tail, or where the machine was
started anew since.

What is true when the process dies
==================================

(Points in quotes can be asked for with ``LLM_AUDIT_CRASH_AT``, see ``crash``.)

- Taking a boot number; "boot-numbered": the number is used up, no segment has it.
- Preparing a segment: a file whose header is missing, or nothing in it: recovery removes it.
- "before-request", or in the middle of a frame's copy: the frame is not there, its sum is wrong: a torn tail. Nothing was
  forwarded yet that it speaks of, for the proxy forwards after the append.
- "after-request", "before-response", "after-response", "before-chunk", "mid-stream", "before-end": the exchange is
  open; recovery ends it as ``interrupted`` at the time of its last frame, with all that was appended.
- "after-end": it ended.
- "before-roll", "after-roll": between two segments; the frames before are in the one, the next in the other.
- "recovery-written": a ``.tmp``: recovery starts again from the same frames. "recovery-named": it is done.
- "carry-written": a ``.tmp``. "carry-named": both stand there and the carry-over hides the segment. "before-delete":
  all that ended in the segment is stored. "segment-deleted": done. A carry-over goes after what it hides.
- "after-put", "after-ledger": the shipper's; the journal is as it was (see ``ship.shipper``).
- A count of calls without a record of their own is in its file, and with it the place in the sequence that the record
  of the count is to have; recovery looks whether that place was given out, so each count is told once.

What it does not promise: in ``process`` durability a power cut loses what came after the last sync (a second's worth),
an exchange's begin included. Two damaged places in one exchange's only frames can hide whose they were; the sequence
still shows that something was there. Reading into a file whose disk fails raises SIGBUS in the reader: it is started
again by its supervisor.
"""
