/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the core needs of its surroundings: the kernel, or a user space test.
 */
#ifndef RTPE_CORE_BASE_H
#define RTPE_CORE_BASE_H

#ifdef __KERNEL__

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/string.h>
#include <linux/types.h>

#else

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define unlikely(x)	__builtin_expect(!!(x), 0)
#define div_s64(a, b)	((a) / (b))
#define div_u64(a, b)	((a) / (b))

#endif

/* Octet by octet: compilers make one load and a swap of it. */
static inline u16 core_be16(const u8 *p)
{
	return (u16)(p[0] << 8 | p[1]);
}

static inline u32 core_be32(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static inline void core_put_be16(u8 *p, u16 v)
{
	p[0] = v >> 8;
	p[1] = v & 0xff;
}

static inline void core_put_be32(u8 *p, u32 v)
{
	core_put_be16(p, v >> 16);
	core_put_be16(p + 2, v & 0xffff);
}

#endif
