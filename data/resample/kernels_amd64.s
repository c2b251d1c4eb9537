#include "textflag.h"

// half is the rounding of a sum, 2^(precision-1), and order puts the four-byte
// groups of packed results back in place.
DATA half<>+0(SB)/4, $0x200000
GLOBL half<>(SB), RODATA|NOPTR, $4

DATA order<>+0(SB)/4, $0
DATA order<>+4(SB)/4, $4
DATA order<>+8(SB)/4, $1
DATA order<>+12(SB)/4, $5
DATA order<>+16(SB)/4, $2
DATA order<>+20(SB)/4, $6
DATA order<>+24(SB)/4, $3
DATA order<>+28(SB)/4, $7
GLOBL order<>(SB), RODATA|NOPTR, $32

// func columnsAVX2(out, rows *uint8, stride int, coef *int32, n, blocks int)
//
// For each of 32*blocks columns: the sum of n rows, stride bytes apart, weighted
// with coef, rounded and limited to a byte.
TEXT ·columnsAVX2(SB), NOSPLIT, $0-48
	MOVQ out+0(FP), DI
	MOVQ rows+8(FP), SI
	MOVQ stride+16(FP), R8
	MOVQ coef+24(FP), R9
	MOVQ n+32(FP), R10
	MOVQ blocks+40(FP), R11
	VPBROADCASTD half<>(SB), Y8
	VMOVDQU order<>(SB), Y9

block:
	VMOVDQA Y8, Y0
	VMOVDQA Y8, Y1
	VMOVDQA Y8, Y2
	VMOVDQA Y8, Y3
	MOVQ SI, AX
	MOVQ R9, BX
	MOVQ R10, CX

row:
	VPBROADCASTD (BX), Y4
	VPMOVZXBD (AX), Y5
	VPMOVZXBD 8(AX), Y6
	VPMULLD Y4, Y5, Y5
	VPMULLD Y4, Y6, Y6
	VPADDD Y5, Y0, Y0
	VPADDD Y6, Y1, Y1
	VPMOVZXBD 16(AX), Y5
	VPMOVZXBD 24(AX), Y6
	VPMULLD Y4, Y5, Y5
	VPMULLD Y4, Y6, Y6
	VPADDD Y5, Y2, Y2
	VPADDD Y6, Y3, Y3
	ADDQ R8, AX
	ADDQ $4, BX
	DECQ CX
	JNZ row

	VPSRAD $22, Y0, Y0
	VPSRAD $22, Y1, Y1
	VPSRAD $22, Y2, Y2
	VPSRAD $22, Y3, Y3
	VPACKSSDW Y1, Y0, Y0
	VPACKSSDW Y3, Y2, Y2
	VPACKUSWB Y2, Y0, Y0
	VPERMD Y0, Y9, Y0
	VMOVDQU Y0, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	DECQ R11
	JNZ block
	VZEROUPPER
	RET

// func pixelsAVX2(out, in *[4]*uint8, first, count, coef *int32, stride, n int)
//
// For each of n output pixels of four rows at once: the sum of count[x] RGB pixels
// from first[x] on, weighted with coef[x*stride:]. Four bytes are read and written
// where a pixel has three.
TEXT ·pixelsAVX2(SB), NOSPLIT, $0-56
	MOVQ out+0(FP), AX
	MOVQ 0(AX), R8
	MOVQ 8(AX), R9
	MOVQ 16(AX), R10
	MOVQ 24(AX), R11
	MOVQ in+8(FP), AX
	MOVQ 0(AX), R12
	MOVQ 8(AX), R13
	MOVQ 16(AX), R14
	MOVQ 24(AX), SI
	MOVQ first+16(FP), DI
	MOVQ coef+32(FP), BX
	VPBROADCASTD half<>(SB), Y8

pixel:
	MOVLQSX (DI), AX
	LEAQ (AX)(AX*2), AX
	MOVQ count+24(FP), DX
	MOVLQSX (DX), CX
	ADDQ $4, DX
	MOVQ DX, count+24(FP)
	MOVQ BX, DX
	VMOVDQA Y8, Y0
	VMOVDQA Y8, Y1

tap:
	VMOVD (R12)(AX*1), X2
	VPINSRD $1, (R13)(AX*1), X2, X2
	VMOVD (R14)(AX*1), X3
	VPINSRD $1, (SI)(AX*1), X3, X3
	VPMOVZXBD X2, Y2
	VPMOVZXBD X3, Y3
	VPBROADCASTD (DX), Y4
	VPMULLD Y4, Y2, Y2
	VPMULLD Y4, Y3, Y3
	VPADDD Y2, Y0, Y0
	VPADDD Y3, Y1, Y1
	ADDQ $3, AX
	ADDQ $4, DX
	DECQ CX
	JNZ tap

	// Rows 0 and 2 are in the low halves, 1 and 3 in the high ones.
	VPSRAD $22, Y0, Y0
	VPSRAD $22, Y1, Y1
	VPACKSSDW Y1, Y0, Y0
	VPACKUSWB Y0, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VMOVD X0, (R8)
	VMOVD X1, (R9)
	VPEXTRD $1, X0, (R10)
	VPEXTRD $1, X1, (R11)
	ADDQ $3, R8
	ADDQ $3, R9
	ADDQ $3, R10
	ADDQ $3, R11
	ADDQ $4, DI
	MOVQ stride+40(FP), CX
	LEAQ (BX)(CX*4), BX
	DECQ n+48(FP)
	JNZ pixel
	VZEROUPPER
	RET
