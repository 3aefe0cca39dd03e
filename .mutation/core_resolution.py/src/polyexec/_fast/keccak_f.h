/* Keccak-f[1600] over LANE: one state, or several side by side in the parts of a vector.

   Included by keccak.h once for every kind of lane and of processor, with KECCAK_F (the function's
   name), LANE and TARGET set. Lane (x, y) is a[x + 5 y]; plain variables, so that compilers keep
   them in registers. */

TARGET static void KECCAK_F(LANE *s) {
    LANE a0 = s[0], a1 = s[1], a2 = s[2], a3 = s[3], a4 = s[4];
    LANE a5 = s[5], a6 = s[6], a7 = s[7], a8 = s[8], a9 = s[9];
    LANE a10 = s[10], a11 = s[11], a12 = s[12], a13 = s[13], a14 = s[14];
    LANE a15 = s[15], a16 = s[16], a17 = s[17], a18 = s[18], a19 = s[19];
    LANE a20 = s[20], a21 = s[21], a22 = s[22], a23 = s[23], a24 = s[24];
    for (int round = 0; round < 24; round++) {
        LANE b0, b1, b2, b3, b4;
        LANE c0 = a0 ^ a5 ^ a10 ^ a15 ^ a20;
        LANE c1 = a1 ^ a6 ^ a11 ^ a16 ^ a21;
        LANE c2 = a2 ^ a7 ^ a12 ^ a17 ^ a22;
        LANE c3 = a3 ^ a8 ^ a13 ^ a18 ^ a23;
        LANE c4 = a4 ^ a9 ^ a14 ^ a19 ^ a24;
        LANE d0 = c4 ^ KECCAK_ROTL(c1, 1), d1 = c0 ^ KECCAK_ROTL(c2, 1);
        LANE d2 = c1 ^ KECCAK_ROTL(c3, 1), d3 = c2 ^ KECCAK_ROTL(c4, 1);
        LANE d4 = c3 ^ KECCAK_ROTL(c0, 1);
        LANE e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12;
        LANE e13, e14, e15, e16, e17, e18, e19, e20, e21, e22, e23, e24;
        b0 = a0 ^ d0;
        b1 = KECCAK_ROTL(a6 ^ d1, 44);
        b2 = KECCAK_ROTL(a12 ^ d2, 43);
        b3 = KECCAK_ROTL(a18 ^ d3, 21);
        b4 = KECCAK_ROTL(a24 ^ d4, 14);
        e0 = b0 ^ (~b1 & b2) ^ keccak_round_constants[round];
        e1 = b1 ^ (~b2 & b3);
        e2 = b2 ^ (~b3 & b4);
        e3 = b3 ^ (~b4 & b0);
        e4 = b4 ^ (~b0 & b1);
        b0 = KECCAK_ROTL(a3 ^ d3, 28);
        b1 = KECCAK_ROTL(a9 ^ d4, 20);
        b2 = KECCAK_ROTL(a10 ^ d0, 3);
        b3 = KECCAK_ROTL(a16 ^ d1, 45);
        b4 = KECCAK_ROTL(a22 ^ d2, 61);
        e5 = b0 ^ (~b1 & b2);
        e6 = b1 ^ (~b2 & b3);
        e7 = b2 ^ (~b3 & b4);
        e8 = b3 ^ (~b4 & b0);
        e9 = b4 ^ (~b0 & b1);
        b0 = KECCAK_ROTL(a1 ^ d1, 1);
        b1 = KECCAK_ROTL(a7 ^ d2, 6);
        b2 = KECCAK_ROTL(a13 ^ d3, 25);
        b3 = KECCAK_ROTL(a19 ^ d4, 8);
        b4 = KECCAK_ROTL(a20 ^ d0, 18);
        e10 = b0 ^ (~b1 & b2);
        e11 = b1 ^ (~b2 & b3);
        e12 = b2 ^ (~b3 & b4);
        e13 = b3 ^ (~b4 & b0);
        e14 = b4 ^ (~b0 & b1);
        b0 = KECCAK_ROTL(a4 ^ d4, 27);
        b1 = KECCAK_ROTL(a5 ^ d0, 36);
        b2 = KECCAK_ROTL(a11 ^ d1, 10);
        b3 = KECCAK_ROTL(a17 ^ d2, 15);
        b4 = KECCAK_ROTL(a23 ^ d3, 56);
        e15 = b0 ^ (~b1 & b2);
        e16 = b1 ^ (~b2 & b3);
        e17 = b2 ^ (~b3 & b4);
        e18 = b3 ^ (~b4 & b0);
        e19 = b4 ^ (~b0 & b1);
        b0 = KECCAK_ROTL(a2 ^ d2, 62);
        b1 = KECCAK_ROTL(a8 ^ d3, 55);
        b2 = KECCAK_ROTL(a14 ^ d4, 39);
        b3 = KECCAK_ROTL(a15 ^ d0, 41);
        b4 = KECCAK_ROTL(a21 ^ d1, 2);
        e20 = b0 ^ (~b1 & b2);
        e21 = b1 ^ (~b2 & b3);
        e22 = b2 ^ (~b3 & b4);
        e23 = b3 ^ (~b4 & b0);
        e24 = b4 ^ (~b0 & b1);
        a0 = e0, a1 = e1, a2 = e2, a3 = e3, a4 = e4;
        a5 = e5, a6 = e6, a7 = e7, a8 = e8, a9 = e9;
        a10 = e10, a11 = e11, a12 = e12, a13 = e13, a14 = e14;
        a15 = e15, a16 = e16, a17 = e17, a18 = e18, a19 = e19;
        a20 = e20, a21 = e21, a22 = e22, a23 = e23, a24 = e24;
    }
    s[0] = a0, s[1] = a1, s[2] = a2, s[3] = a3, s[4] = a4;
    s[5] = a5, s[6] = a6, s[7] = a7, s[8] = a8, s[9] = a9;
    s[10] = a10, s[11] = a11, s[12] = a12, s[13] = a13, s[14] = a14;
    s[15] = a15, s[16] = a16, s[17] = a17, s[18] = a18, s[19] = a19;
    s[20] = a20, s[21] = a21, s[22] = a22, s[23] = a23, s[24] = a24;
}

#undef KECCAK_F
#undef TARGET
