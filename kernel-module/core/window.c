// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packet indices of one SSRC: the roll-over counter, and which indices were
 * used (RFC 3711 3.3.1, 3.3.2).
 */
#include "core.h"

/* Goes on where somebody else was: up to this index everything counts as used. */
void core_window_behind(struct core_window *w, u64 index)
{
	w->highest = index;
	w->used[0] = ~0ull;
	w->used[1] = ~0ull;
	w->known = true;
}

/*
 * The index next to the highest one whose low 16 bits are the sequence number.
 * In the first cycle nothing can have come before, so a jump of more than half
 * the numbers counts forward.  False when all 2^48 indices have been used.
 */
bool core_window_index(const struct core_window *w, u16 sequence, u64 *index)
{
	s16 step;

	if (!w->known) {
		*index = sequence;
		return true;
	}
	step = (s16)(u16)(sequence - (u16)w->highest);
	if (step == -32768)	/* as far ahead as behind: this cycle */
		*index = (w->highest & ~0xffffull) | sequence;
	else if (step < 0 && w->highest < (u64)-(s64)step)
		*index = sequence;
	else
		*index = w->highest + (s64)step;
	return *index <= CORE_LAST_RTP;
}

bool core_window_used(const struct core_window *w, u64 index)
{
	u64 behind;

	if (!w->known || index > w->highest)
		return false;
	behind = w->highest - index;
	return behind >= CORE_WINDOW || (w->used[behind / 64] >> (behind % 64) & 1);
}

void core_window_mark(struct core_window *w, u64 index)
{
	u64 ahead;

	if (!w->known) {
		w->highest = index;
		w->used[0] = 1;
		w->used[1] = 0;
		w->known = true;
		return;
	}
	if (index <= w->highest) {
		u64 behind = w->highest - index;

		if (behind < CORE_WINDOW)
			w->used[behind / 64] |= 1ull << (behind % 64);
		return;
	}
	ahead = index - w->highest;
	w->highest = index;
	if (ahead >= CORE_WINDOW) {
		w->used[1] = 0;
		w->used[0] = 1;
	} else if (ahead >= 64) {
		w->used[1] = w->used[0] << (ahead - 64);
		w->used[0] = 1;
	} else {
		w->used[1] = w->used[1] << ahead | w->used[0] >> (64 - ahead);
		w->used[0] = w->used[0] << ahead | 1;
	}
}
