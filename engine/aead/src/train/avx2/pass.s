# Written by engine/aead/tests/assembly: see there, and pass.rs for the arguments.
# rdi: initial state; rsi: lanes; rdx, rcx: segments and their end; r8: double rounds without a hash.
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rax, rsp
    sub rsp, 256
    and rsp, -32
    mov [rsp + 224], rax
    mov [rsp + 192], rdi
    mov [rsp + 200], rsi
    mov [rsp + 208], rcx
    mov [rsp + 216], r8
    mov rbp, rdx
    vmovdqa ymm0, [rip + {rotate_16}]
    vmovdqa [rsp + 64], ymm0
    vmovdqa ymm0, [rip + {rotate_8}]
    vmovdqa [rsp + 96], ymm0
# Texts are there when the key stream is.
    mov rax, [rsi + 0]
    prefetcht0 [rax + 63]
    mov rax, [rsi + 16]
    prefetcht0 [rax + 63]
    mov rax, [rsi + 32]
    prefetcht0 [rax + 63]
    mov rax, [rsi + 48]
    prefetcht0 [rax + 63]
    mov rax, [rsi + 64]
    prefetcht0 [rax + 63]
    mov rax, [rsi + 80]
    prefetcht0 [rax + 63]
    mov rax, [rsi + 96]
    prefetcht0 [rax + 63]
    mov rax, [rsi + 112]
    prefetcht0 [rax + 63]
    vmovdqa ymm12, [rdi + 0]
    vmovdqa ymm13, [rdi + 32]
    vmovdqa ymm14, [rdi + 64]
    vmovdqa ymm15, [rdi + 96]
    vmovdqa ymm4, [rdi + 128]
    vmovdqa ymm5, [rdi + 160]
    vmovdqa ymm6, [rdi + 192]
    vmovdqa ymm7, [rdi + 224]
    vmovdqa ymm0, [rdi + 256]
    vmovdqa ymm1, [rdi + 288]
    vmovdqa ymm2, [rdi + 320]
    vmovdqa [rsp + 128], ymm2
    vmovdqa ymm3, [rdi + 352]
    vmovdqa ymm8, [rdi + 384]
    vmovdqa ymm9, [rdi + 416]
    vmovdqa ymm10, [rdi + 448]
    vmovdqa ymm11, [rdi + 480]
# The next segment.
2:
    cmp rbp, [rsp + 208]
    je 6f
    mov rax, [rbp + 16]
    mov rbx, [rax + 24]
    mov [rsp + 0], rbx
    mov r8, [rax + 0]
    mov rbx, [rax + 32]
    mov [rsp + 8], rbx
    mov r9, [rax + 8]
    mov rbx, [rax + 40]
    mov [rsp + 16], rbx
    mov r10, [rax + 16]
    mov rsi, [rbp + 0]
    mov rax, [rbp + 24]
    mov rbx, [rax + 24]
    mov [rsp + 24], rbx
    mov r11, [rax + 0]
    mov rbx, [rax + 32]
    mov [rsp + 32], rbx
    mov r12, [rax + 8]
    mov rbx, [rax + 40]
    mov [rsp + 40], rbx
    mov r13, [rax + 16]
    mov r14, [rbp + 8]
# Double rounds with two blocks of each message.
    mov rdi, [rbp + 32]
    test rdi, rdi
    jz 39f
    .p2align 5
38:
    vpaddd ymm12, ymm4, ymm12
    add r8, [rsi + 0]
    vpaddd ymm13, ymm5, ymm13
    adc r9, [rsi + 8]
    vpxor ymm8, ymm8, ymm12
    adc r10, 1
    vpxor ymm9, ymm9, ymm13
    mov rdx, r9
    vpshufb ymm8, ymm8, [rsp + 64]
    mulx rcx, rax, [rsp + 0]
    vpshufb ymm9, ymm9, [rsp + 64]
    vpaddd ymm0, ymm8, ymm0
    mulx r9, rbx, [rsp + 16]
    vpaddd ymm14, ymm6, ymm14
    mov rdx, r8
    vpaddd ymm1, ymm9, ymm1
    mulx r15, r8, [rsp + 0]
    vpaddd ymm15, ymm7, ymm15
    add r8, rbx
    vpxor ymm4, ymm4, ymm0
    adc r9, r15
    vmovdqa [rsp + 160], ymm15
    vpxor ymm5, ymm5, ymm1
    mulx r15, rbx, [rsp + 8]
    vpslld ymm2, ymm4, 12
    add rax, rbx
    vpxor ymm10, ymm10, ymm14
    adc rcx, r15
    vpsrld ymm4, ymm4, 20
    mov rbx, r10
    vpxor ymm11, ymm11, ymm15
    imul rbx, [rsp + 16]
    vpor ymm4, ymm4, ymm2
    vpslld ymm2, ymm5, 12
    imul r10, [rsp + 0]
    vpshufb ymm10, ymm10, [rsp + 64]
    add rax, rbx
    vpsrld ymm5, ymm5, 20
    adc rcx, 0
    vpshufb ymm11, ymm11, [rsp + 64]
    add r9, rax
    vpor ymm5, ymm5, ymm2
    adc rcx, r10
    vpaddd ymm12, ymm4, ymm12
    vpaddd ymm2, ymm10, [rsp + 128]
    mov r10, rcx
    vpaddd ymm3, ymm11, ymm3
    and r10, 3
    vpaddd ymm13, ymm5, ymm13
    shr rcx, 2
    vpxor ymm6, ymm6, ymm2
    lea rcx, [rcx + 4*rcx]
    vpxor ymm7, ymm7, ymm3
    add r8, rcx
    vpxor ymm8, ymm8, ymm12
    vpslld ymm15, ymm6, 12
    adc r9, 0
    vpxor ymm9, ymm9, ymm13
    adc r10, 0
    vpsrld ymm6, ymm6, 20
    add r11, [r14 + 0]
    vpor ymm6, ymm6, ymm15
    adc r12, [r14 + 8]
    vpshufb ymm8, ymm8, [rsp + 96]
    adc r13, 1
    vpslld ymm15, ymm7, 12
    vpsrld ymm7, ymm7, 20
    mov rdx, r12
    vpshufb ymm9, ymm9, [rsp + 96]
    mulx rcx, rax, [rsp + 24]
    vpor ymm7, ymm7, ymm15
    mulx r12, rbx, [rsp + 40]
    vpaddd ymm0, ymm8, ymm0
    mov rdx, r11
    vpaddd ymm14, ymm6, ymm14
    mulx r15, r11, [rsp + 24]
    vpaddd ymm1, ymm9, ymm1
    vpaddd ymm15, ymm7, [rsp + 160]
    add r11, rbx
    vpxor ymm4, ymm4, ymm0
    adc r12, r15
    vpxor ymm5, ymm5, ymm1
    mulx r15, rbx, [rsp + 32]
    vpxor ymm10, ymm10, ymm14
    add rax, rbx
    vmovdqa [rsp + 128], ymm0
    adc rcx, r15
    vpslld ymm0, ymm4, 7
    vpxor ymm11, ymm11, ymm15
    mov rbx, r13
    vpsrld ymm4, ymm4, 25
    imul rbx, [rsp + 40]
    vpor ymm4, ymm4, ymm0
    imul r13, [rsp + 24]
    vpshufb ymm10, ymm10, [rsp + 96]
    add rax, rbx
    vpslld ymm0, ymm5, 7
    adc rcx, 0
    vpsrld ymm5, ymm5, 25
    vpshufb ymm11, ymm11, [rsp + 96]
    add r12, rax
    vpor ymm5, ymm5, ymm0
    adc rcx, r13
    vpaddd ymm12, ymm5, ymm12
    mov r13, rcx
    vpaddd ymm2, ymm10, ymm2
    and r13, 3
    vpaddd ymm3, ymm11, ymm3
    shr rcx, 2
    vpaddd ymm15, ymm4, ymm15
    vpxor ymm6, ymm6, ymm2
    lea rcx, [rcx + 4*rcx]
    vpxor ymm7, ymm7, ymm3
    add r11, rcx
    vpxor ymm11, ymm11, ymm12
    adc r12, 0
    vpslld ymm0, ymm6, 7
    adc r13, 0
    vpxor ymm10, ymm10, ymm15
    add r8, [rsi + 16]
    vpsrld ymm6, ymm6, 25
    vpor ymm6, ymm6, ymm0
    adc r9, [rsi + 24]
    vpshufb ymm11, ymm11, [rsp + 64]
    adc r10, 1
    vpslld ymm0, ymm7, 7
    mov rdx, r9
    vpsrld ymm7, ymm7, 25
    mulx rcx, rax, [rsp + 0]
    vpshufb ymm10, ymm10, [rsp + 64]
    mulx r9, rbx, [rsp + 16]
    vpor ymm7, ymm7, ymm0
    vpaddd ymm2, ymm11, ymm2
    mov rdx, r8
    vpaddd ymm13, ymm6, ymm13
    mulx r15, r8, [rsp + 0]
    vpaddd ymm1, ymm10, ymm1
    add r8, rbx
    vpaddd ymm14, ymm7, ymm14
    adc r9, r15
    vpxor ymm5, ymm5, ymm2
    mulx r15, rbx, [rsp + 8]
    vmovdqa [rsp + 160], ymm14
    vpxor ymm4, ymm4, ymm1
    add rax, rbx
    vpslld ymm0, ymm5, 12
    adc rcx, r15
    vpxor ymm8, ymm8, ymm13
    mov rbx, r10
    vpsrld ymm5, ymm5, 20
    imul rbx, [rsp + 16]
    vpxor ymm9, ymm9, ymm14
    imul r10, [rsp + 0]
    vpor ymm5, ymm5, ymm0
    vpslld ymm0, ymm4, 12
    add rax, rbx
    vpshufb ymm8, ymm8, [rsp + 64]
    adc rcx, 0
    vpsrld ymm4, ymm4, 20
    add r9, rax
    vpshufb ymm9, ymm9, [rsp + 64]
    adc rcx, r10
    vpor ymm4, ymm4, ymm0
    mov r10, rcx
    vpaddd ymm12, ymm5, ymm12
    vpaddd ymm3, ymm8, ymm3
    and r10, 3
    vpaddd ymm0, ymm9, [rsp + 128]
    shr rcx, 2
    vpaddd ymm15, ymm4, ymm15
    lea rcx, [rcx + 4*rcx]
    vpxor ymm6, ymm6, ymm3
    add r8, rcx
    vpxor ymm7, ymm7, ymm0
    adc r9, 0
    vpxor ymm11, ymm11, ymm12
    vpslld ymm14, ymm6, 12
    adc r10, 0
    vpxor ymm10, ymm10, ymm15
    add r11, [r14 + 16]
    vpsrld ymm6, ymm6, 20
    adc r12, [r14 + 24]
    vpor ymm6, ymm6, ymm14
    adc r13, 1
    vpshufb ymm11, ymm11, [rsp + 96]
    mov rdx, r12
    vpslld ymm14, ymm7, 12
    vpsrld ymm7, ymm7, 20
    mulx rcx, rax, [rsp + 24]
    vpshufb ymm10, ymm10, [rsp + 96]
    mulx r12, rbx, [rsp + 40]
    vpor ymm7, ymm7, ymm14
    mov rdx, r11
    vpaddd ymm2, ymm11, ymm2
    mulx r15, r11, [rsp + 24]
    vpaddd ymm13, ymm6, ymm13
    add r11, rbx
    vpaddd ymm1, ymm10, ymm1
    vpaddd ymm14, ymm7, [rsp + 160]
    adc r12, r15
    vpxor ymm5, ymm5, ymm2
    mulx r15, rbx, [rsp + 32]
    vpxor ymm4, ymm4, ymm1
    add rax, rbx
    vpxor ymm8, ymm8, ymm13
    adc rcx, r15
    vmovdqa [rsp + 128], ymm2
    mov rbx, r13
    vpslld ymm2, ymm5, 7
    vpxor ymm9, ymm9, ymm14
    imul rbx, [rsp + 40]
    vpsrld ymm5, ymm5, 25
    imul r13, [rsp + 24]
    vpor ymm5, ymm5, ymm2
    add rax, rbx
    vpshufb ymm8, ymm8, [rsp + 96]
    adc rcx, 0
    vpslld ymm2, ymm4, 7
    add r12, rax
    vpsrld ymm4, ymm4, 25
    vpshufb ymm9, ymm9, [rsp + 96]
    adc rcx, r13
    vpor ymm4, ymm4, ymm2
    mov r13, rcx
    vpaddd ymm3, ymm8, ymm3
    and r13, 3
    vpaddd ymm0, ymm9, ymm0
    shr rcx, 2
    vpxor ymm6, ymm6, ymm3
    lea rcx, [rcx + 4*rcx]
    vpxor ymm7, ymm7, ymm0
    vpslld ymm2, ymm6, 7
    add r11, rcx
    vpsrld ymm6, ymm6, 25
    adc r12, 0
    vpor ymm6, ymm6, ymm2
    adc r13, 0
    vpslld ymm2, ymm7, 7
    add rsi, 32
    vpsrld ymm7, ymm7, 25
    add r14, 32
    vpor ymm7, ymm7, ymm2
    dec rdi
    jnz 38b
39:
# With one.
    mov rdi, [rbp + 40]
    test rdi, rdi
    jz 49f
    .p2align 5
48:
    vpaddd ymm12, ymm4, ymm12
    add r8, [rsi + 0]
    vpaddd ymm13, ymm5, ymm13
    vpxor ymm8, ymm8, ymm12
    adc r9, [rsi + 8]
    vpxor ymm9, ymm9, ymm13
    vpshufb ymm8, ymm8, [rsp + 64]
    adc r10, 1
    vpshufb ymm9, ymm9, [rsp + 64]
    vpaddd ymm0, ymm8, ymm0
    vpaddd ymm14, ymm6, ymm14
    mov rdx, r9
    vpaddd ymm1, ymm9, ymm1
    vpaddd ymm15, ymm7, ymm15
    mulx rcx, rax, [rsp + 0]
    vpxor ymm4, ymm4, ymm0
    vmovdqa [rsp + 160], ymm15
    mulx r9, rbx, [rsp + 16]
    vpxor ymm5, ymm5, ymm1
    vpslld ymm2, ymm4, 12
    vpxor ymm10, ymm10, ymm14
    mov rdx, r8
    vpsrld ymm4, ymm4, 20
    vpxor ymm11, ymm11, ymm15
    mulx r15, r8, [rsp + 0]
    vpor ymm4, ymm4, ymm2
    vpslld ymm2, ymm5, 12
    add r8, rbx
    vpshufb ymm10, ymm10, [rsp + 64]
    vpsrld ymm5, ymm5, 20
    vpshufb ymm11, ymm11, [rsp + 64]
    adc r9, r15
    vpor ymm5, ymm5, ymm2
    vpaddd ymm12, ymm4, ymm12
    mulx r15, rbx, [rsp + 8]
    vpaddd ymm2, ymm10, [rsp + 128]
    vpaddd ymm3, ymm11, ymm3
    add rax, rbx
    vpaddd ymm13, ymm5, ymm13
    vpxor ymm6, ymm6, ymm2
    vpxor ymm7, ymm7, ymm3
    adc rcx, r15
    vpxor ymm8, ymm8, ymm12
    vpslld ymm15, ymm6, 12
    mov rbx, r10
    vpxor ymm9, ymm9, ymm13
    vpsrld ymm6, ymm6, 20
    vpor ymm6, ymm6, ymm15
    imul rbx, [rsp + 16]
    vpshufb ymm8, ymm8, [rsp + 96]
    vpslld ymm15, ymm7, 12
    imul r10, [rsp + 0]
    vpsrld ymm7, ymm7, 20
    vpshufb ymm9, ymm9, [rsp + 96]
    add rax, rbx
    vpor ymm7, ymm7, ymm15
    vpaddd ymm0, ymm8, ymm0
    vpaddd ymm14, ymm6, ymm14
    adc rcx, 0
    vpaddd ymm1, ymm9, ymm1
    vpaddd ymm15, ymm7, [rsp + 160]
    add r9, rax
    vpxor ymm4, ymm4, ymm0
    vpxor ymm5, ymm5, ymm1
    adc rcx, r10
    vpxor ymm10, ymm10, ymm14
    vmovdqa [rsp + 128], ymm0
    vpslld ymm0, ymm4, 7
    mov r10, rcx
    vpxor ymm11, ymm11, ymm15
    vpsrld ymm4, ymm4, 25
    and r10, 3
    vpor ymm4, ymm4, ymm0
    vpshufb ymm10, ymm10, [rsp + 96]
    shr rcx, 2
    vpslld ymm0, ymm5, 7
    vpsrld ymm5, ymm5, 25
    vpshufb ymm11, ymm11, [rsp + 96]
    lea rcx, [rcx + 4*rcx]
    vpor ymm5, ymm5, ymm0
    vpaddd ymm12, ymm5, ymm12
    add r8, rcx
    vpaddd ymm2, ymm10, ymm2
    vpaddd ymm3, ymm11, ymm3
    adc r9, 0
    vpaddd ymm15, ymm4, ymm15
    vpxor ymm6, ymm6, ymm2
    vpxor ymm7, ymm7, ymm3
    adc r10, 0
    vpxor ymm11, ymm11, ymm12
    vpslld ymm0, ymm6, 7
    add r11, [r14 + 0]
    vpxor ymm10, ymm10, ymm15
    vpsrld ymm6, ymm6, 25
    vpor ymm6, ymm6, ymm0
    adc r12, [r14 + 8]
    vpshufb ymm11, ymm11, [rsp + 64]
    vpslld ymm0, ymm7, 7
    adc r13, 1
    vpsrld ymm7, ymm7, 25
    vpshufb ymm10, ymm10, [rsp + 64]
    mov rdx, r12
    vpor ymm7, ymm7, ymm0
    vpaddd ymm2, ymm11, ymm2
    vpaddd ymm13, ymm6, ymm13
    mulx rcx, rax, [rsp + 24]
    vpaddd ymm1, ymm10, ymm1
    vpaddd ymm14, ymm7, ymm14
    mulx r12, rbx, [rsp + 40]
    vpxor ymm5, ymm5, ymm2
    vmovdqa [rsp + 160], ymm14
    mov rdx, r11
    vpxor ymm4, ymm4, ymm1
    vpslld ymm0, ymm5, 12
    vpxor ymm8, ymm8, ymm13
    mulx r15, r11, [rsp + 24]
    vpsrld ymm5, ymm5, 20
    vpxor ymm9, ymm9, ymm14
    add r11, rbx
    vpor ymm5, ymm5, ymm0
    vpslld ymm0, ymm4, 12
    adc r12, r15
    vpshufb ymm8, ymm8, [rsp + 64]
    vpsrld ymm4, ymm4, 20
    vpshufb ymm9, ymm9, [rsp + 64]
    mulx r15, rbx, [rsp + 32]
    vpor ymm4, ymm4, ymm0
    vpaddd ymm12, ymm5, ymm12
    add rax, rbx
    vpaddd ymm3, ymm8, ymm3
    vpaddd ymm0, ymm9, [rsp + 128]
    adc rcx, r15
    vpaddd ymm15, ymm4, ymm15
    vpxor ymm6, ymm6, ymm3
    vpxor ymm7, ymm7, ymm0
    mov rbx, r13
    vpxor ymm11, ymm11, ymm12
    vpslld ymm14, ymm6, 12
    imul rbx, [rsp + 40]
    vpxor ymm10, ymm10, ymm15
    vpsrld ymm6, ymm6, 20
    vpor ymm6, ymm6, ymm14
    imul r13, [rsp + 24]
    vpshufb ymm11, ymm11, [rsp + 96]
    vpslld ymm14, ymm7, 12
    add rax, rbx
    vpsrld ymm7, ymm7, 20
    vpshufb ymm10, ymm10, [rsp + 96]
    adc rcx, 0
    vpor ymm7, ymm7, ymm14
    vpaddd ymm2, ymm11, ymm2
    vpaddd ymm13, ymm6, ymm13
    add r12, rax
    vpaddd ymm1, ymm10, ymm1
    vpaddd ymm14, ymm7, [rsp + 160]
    adc rcx, r13
    vpxor ymm5, ymm5, ymm2
    vpxor ymm4, ymm4, ymm1
    mov r13, rcx
    vpxor ymm8, ymm8, ymm13
    vmovdqa [rsp + 128], ymm2
    vpslld ymm2, ymm5, 7
    and r13, 3
    vpxor ymm9, ymm9, ymm14
    vpsrld ymm5, ymm5, 25
    shr rcx, 2
    vpor ymm5, ymm5, ymm2
    vpshufb ymm8, ymm8, [rsp + 96]
    lea rcx, [rcx + 4*rcx]
    vpslld ymm2, ymm4, 7
    vpsrld ymm4, ymm4, 25
    vpshufb ymm9, ymm9, [rsp + 96]
    add r11, rcx
    vpor ymm4, ymm4, ymm2
    vpaddd ymm3, ymm8, ymm3
    adc r12, 0
    vpaddd ymm0, ymm9, ymm0
    vpxor ymm6, ymm6, ymm3
    adc r13, 0
    vpxor ymm7, ymm7, ymm0
    vpslld ymm2, ymm6, 7
    vpsrld ymm6, ymm6, 25
    add rsi, 16
    vpor ymm6, ymm6, ymm2
    vpslld ymm2, ymm7, 7
    add r14, 16
    vpsrld ymm7, ymm7, 25
    vpor ymm7, ymm7, ymm2
    dec rdi
    jnz 48b
49:
    mov rax, [rbp + 16]
    mov [rax + 0], r8
    mov [rax + 8], r9
    mov [rax + 16], r10
    mov rax, [rbp + 24]
    mov [rax + 0], r11
    mov [rax + 8], r12
    mov [rax + 16], r13
    add rbp, 48
    jmp 2b
# Without.
6:
    mov rdi, [rsp + 216]
    test rdi, rdi
    jz 79f
    .p2align 5
78:
    vpaddd ymm12, ymm4, ymm12
    vpaddd ymm13, ymm5, ymm13
    vpxor ymm8, ymm8, ymm12
    vpxor ymm9, ymm9, ymm13
    vpshufb ymm8, ymm8, [rsp + 64]
    vpshufb ymm9, ymm9, [rsp + 64]
    vpaddd ymm0, ymm8, ymm0
    vpaddd ymm14, ymm6, ymm14
    vpaddd ymm1, ymm9, ymm1
    vpaddd ymm15, ymm7, ymm15
    vpxor ymm4, ymm4, ymm0
    vmovdqa [rsp + 160], ymm15
    vpxor ymm5, ymm5, ymm1
    vpslld ymm2, ymm4, 12
    vpxor ymm10, ymm10, ymm14
    vpsrld ymm4, ymm4, 20
    vpxor ymm11, ymm11, ymm15
    vpor ymm4, ymm4, ymm2
    vpslld ymm2, ymm5, 12
    vpshufb ymm10, ymm10, [rsp + 64]
    vpsrld ymm5, ymm5, 20
    vpshufb ymm11, ymm11, [rsp + 64]
    vpor ymm5, ymm5, ymm2
    vpaddd ymm12, ymm4, ymm12
    vpaddd ymm2, ymm10, [rsp + 128]
    vpaddd ymm3, ymm11, ymm3
    vpaddd ymm13, ymm5, ymm13
    vpxor ymm6, ymm6, ymm2
    vpxor ymm7, ymm7, ymm3
    vpxor ymm8, ymm8, ymm12
    vpslld ymm15, ymm6, 12
    vpxor ymm9, ymm9, ymm13
    vpsrld ymm6, ymm6, 20
    vpor ymm6, ymm6, ymm15
    vpshufb ymm8, ymm8, [rsp + 96]
    vpslld ymm15, ymm7, 12
    vpsrld ymm7, ymm7, 20
    vpshufb ymm9, ymm9, [rsp + 96]
    vpor ymm7, ymm7, ymm15
    vpaddd ymm0, ymm8, ymm0
    vpaddd ymm14, ymm6, ymm14
    vpaddd ymm1, ymm9, ymm1
    vpaddd ymm15, ymm7, [rsp + 160]
    vpxor ymm4, ymm4, ymm0
    vpxor ymm5, ymm5, ymm1
    vpxor ymm10, ymm10, ymm14
    vmovdqa [rsp + 128], ymm0
    vpslld ymm0, ymm4, 7
    vpxor ymm11, ymm11, ymm15
    vpsrld ymm4, ymm4, 25
    vpor ymm4, ymm4, ymm0
    vpshufb ymm10, ymm10, [rsp + 96]
    vpslld ymm0, ymm5, 7
    vpsrld ymm5, ymm5, 25
    vpshufb ymm11, ymm11, [rsp + 96]
    vpor ymm5, ymm5, ymm0
    vpaddd ymm12, ymm5, ymm12
    vpaddd ymm2, ymm10, ymm2
    vpaddd ymm3, ymm11, ymm3
    vpaddd ymm15, ymm4, ymm15
    vpxor ymm6, ymm6, ymm2
    vpxor ymm7, ymm7, ymm3
    vpxor ymm11, ymm11, ymm12
    vpslld ymm0, ymm6, 7
    vpxor ymm10, ymm10, ymm15
    vpsrld ymm6, ymm6, 25
    vpor ymm6, ymm6, ymm0
    vpshufb ymm11, ymm11, [rsp + 64]
    vpslld ymm0, ymm7, 7
    vpsrld ymm7, ymm7, 25
    vpshufb ymm10, ymm10, [rsp + 64]
    vpor ymm7, ymm7, ymm0
    vpaddd ymm2, ymm11, ymm2
    vpaddd ymm13, ymm6, ymm13
    vpaddd ymm1, ymm10, ymm1
    vpaddd ymm14, ymm7, ymm14
    vpxor ymm5, ymm5, ymm2
    vmovdqa [rsp + 160], ymm14
    vpxor ymm4, ymm4, ymm1
    vpslld ymm0, ymm5, 12
    vpxor ymm8, ymm8, ymm13
    vpsrld ymm5, ymm5, 20
    vpxor ymm9, ymm9, ymm14
    vpor ymm5, ymm5, ymm0
    vpslld ymm0, ymm4, 12
    vpshufb ymm8, ymm8, [rsp + 64]
    vpsrld ymm4, ymm4, 20
    vpshufb ymm9, ymm9, [rsp + 64]
    vpor ymm4, ymm4, ymm0
    vpaddd ymm12, ymm5, ymm12
    vpaddd ymm3, ymm8, ymm3
    vpaddd ymm0, ymm9, [rsp + 128]
    vpaddd ymm15, ymm4, ymm15
    vpxor ymm6, ymm6, ymm3
    vpxor ymm7, ymm7, ymm0
    vpxor ymm11, ymm11, ymm12
    vpslld ymm14, ymm6, 12
    vpxor ymm10, ymm10, ymm15
    vpsrld ymm6, ymm6, 20
    vpor ymm6, ymm6, ymm14
    vpshufb ymm11, ymm11, [rsp + 96]
    vpslld ymm14, ymm7, 12
    vpsrld ymm7, ymm7, 20
    vpshufb ymm10, ymm10, [rsp + 96]
    vpor ymm7, ymm7, ymm14
    vpaddd ymm2, ymm11, ymm2
    vpaddd ymm13, ymm6, ymm13
    vpaddd ymm1, ymm10, ymm1
    vpaddd ymm14, ymm7, [rsp + 160]
    vpxor ymm5, ymm5, ymm2
    vpxor ymm4, ymm4, ymm1
    vpxor ymm8, ymm8, ymm13
    vmovdqa [rsp + 128], ymm2
    vpslld ymm2, ymm5, 7
    vpxor ymm9, ymm9, ymm14
    vpsrld ymm5, ymm5, 25
    vpor ymm5, ymm5, ymm2
    vpshufb ymm8, ymm8, [rsp + 96]
    vpslld ymm2, ymm4, 7
    vpsrld ymm4, ymm4, 25
    vpshufb ymm9, ymm9, [rsp + 96]
    vpor ymm4, ymm4, ymm2
    vpaddd ymm3, ymm8, ymm3
    vpaddd ymm0, ymm9, ymm0
    vpxor ymm6, ymm6, ymm3
    vpxor ymm7, ymm7, ymm0
    vpslld ymm2, ymm6, 7
    vpsrld ymm6, ymm6, 25
    vpor ymm6, ymm6, ymm2
    vpslld ymm2, ymm7, 7
    vpsrld ymm7, ymm7, 25
    vpor ymm7, ymm7, ymm2
    dec rdi
    jnz 78b
79:
# Key stream meets text.
    mov rdi, [rsp + 192]
    mov rsi, [rsp + 200]
    vpaddd ymm12, ymm12, [rdi + 0]
    vpaddd ymm13, ymm13, [rdi + 32]
    vpaddd ymm14, ymm14, [rdi + 64]
    vpaddd ymm15, ymm15, [rdi + 96]
    vpaddd ymm4, ymm4, [rdi + 128]
    vpaddd ymm5, ymm5, [rdi + 160]
    vpaddd ymm6, ymm6, [rdi + 192]
    vpaddd ymm7, ymm7, [rdi + 224]
    vpaddd ymm0, ymm0, [rdi + 256]
    vpaddd ymm1, ymm1, [rdi + 288]
    vpaddd ymm3, ymm3, [rdi + 352]
    vpaddd ymm8, ymm8, [rdi + 384]
    vpaddd ymm9, ymm9, [rdi + 416]
    vpaddd ymm10, ymm10, [rdi + 448]
    vpaddd ymm11, ymm11, [rdi + 480]
    vpunpckldq ymm2, ymm12, ymm13
    vpunpckhdq ymm12, ymm12, ymm13
    vpunpckldq ymm13, ymm14, ymm15
    vpunpckhdq ymm14, ymm14, ymm15
    vpunpcklqdq ymm15, ymm2, ymm13
    vpunpckhqdq ymm2, ymm2, ymm13
    vpunpcklqdq ymm13, ymm12, ymm14
    vpunpckhqdq ymm12, ymm12, ymm14
    vpunpckldq ymm14, ymm4, ymm5
    vpunpckhdq ymm4, ymm4, ymm5
    vpunpckldq ymm5, ymm6, ymm7
    vpunpckhdq ymm6, ymm6, ymm7
    vpunpcklqdq ymm7, ymm14, ymm5
    vpunpckhqdq ymm14, ymm14, ymm5
    vpunpcklqdq ymm5, ymm4, ymm6
    vpunpckhqdq ymm4, ymm4, ymm6
    vmovdqa [rsp + 160], ymm4
    vmovdqa ymm6, [rsp + 128]
    vpaddd ymm6, ymm6, [rdi + 320]
    vpunpckldq ymm4, ymm0, ymm1
    vpunpckhdq ymm0, ymm0, ymm1
    vpunpckldq ymm1, ymm6, ymm3
    vpunpckhdq ymm6, ymm6, ymm3
    vpunpcklqdq ymm3, ymm4, ymm1
    vpunpckhqdq ymm4, ymm4, ymm1
    vpunpcklqdq ymm1, ymm0, ymm6
    vpunpckhqdq ymm0, ymm0, ymm6
    vpunpckldq ymm6, ymm8, ymm9
    vpunpckhdq ymm8, ymm8, ymm9
    vpunpckldq ymm9, ymm10, ymm11
    vpunpckhdq ymm10, ymm10, ymm11
    vpunpcklqdq ymm11, ymm6, ymm9
    vpunpckhqdq ymm6, ymm6, ymm9
    vpunpcklqdq ymm9, ymm8, ymm10
    vpunpckhqdq ymm8, ymm8, ymm10
    mov rax, [rsi + 48]
    mov rcx, [rsi + 56]
    vperm2i128 ymm10, ymm12, [rsp + 160], 32
    vpxor ymm10, ymm10, [rax + 0]
    vmovdqu [rcx + 0], ymm10
    vperm2i128 ymm10, ymm0, ymm8, 32
    vpxor ymm10, ymm10, [rax + 32]
    vmovdqu [rcx + 32], ymm10
    mov rax, [rsi + 112]
    mov rcx, [rsi + 120]
    vperm2i128 ymm12, ymm12, [rsp + 160], 49
    vpxor ymm12, ymm12, [rax + 0]
    vmovdqu [rcx + 0], ymm12
    vperm2i128 ymm0, ymm0, ymm8, 49
    vpxor ymm0, ymm0, [rax + 32]
    vmovdqu [rcx + 32], ymm0
    mov rax, [rsi + 0]
    mov rcx, [rsi + 8]
    vperm2i128 ymm10, ymm15, ymm7, 32
    vpxor ymm10, ymm10, [rax + 0]
    vmovdqu [rcx + 0], ymm10
    vperm2i128 ymm10, ymm3, ymm11, 32
    vpxor ymm10, ymm10, [rax + 32]
    vmovdqu [rcx + 32], ymm10
    mov rax, [rsi + 64]
    mov rcx, [rsi + 72]
    vperm2i128 ymm15, ymm15, ymm7, 49
    vpxor ymm15, ymm15, [rax + 0]
    vmovdqu [rcx + 0], ymm15
    vperm2i128 ymm3, ymm3, ymm11, 49
    vpxor ymm3, ymm3, [rax + 32]
    vmovdqu [rcx + 32], ymm3
    mov rax, [rsi + 16]
    mov rcx, [rsi + 24]
    vperm2i128 ymm10, ymm2, ymm14, 32
    vpxor ymm10, ymm10, [rax + 0]
    vmovdqu [rcx + 0], ymm10
    vperm2i128 ymm10, ymm4, ymm6, 32
    vpxor ymm10, ymm10, [rax + 32]
    vmovdqu [rcx + 32], ymm10
    mov rax, [rsi + 80]
    mov rcx, [rsi + 88]
    vperm2i128 ymm2, ymm2, ymm14, 49
    vpxor ymm2, ymm2, [rax + 0]
    vmovdqu [rcx + 0], ymm2
    vperm2i128 ymm4, ymm4, ymm6, 49
    vpxor ymm4, ymm4, [rax + 32]
    vmovdqu [rcx + 32], ymm4
    mov rax, [rsi + 32]
    mov rcx, [rsi + 40]
    vperm2i128 ymm10, ymm13, ymm5, 32
    vpxor ymm10, ymm10, [rax + 0]
    vmovdqu [rcx + 0], ymm10
    vperm2i128 ymm10, ymm1, ymm9, 32
    vpxor ymm10, ymm10, [rax + 32]
    vmovdqu [rcx + 32], ymm10
    mov rax, [rsi + 96]
    mov rcx, [rsi + 104]
    vperm2i128 ymm13, ymm13, ymm5, 49
    vpxor ymm13, ymm13, [rax + 0]
    vmovdqu [rcx + 0], ymm13
    vperm2i128 ymm1, ymm1, ymm9, 49
    vpxor ymm1, ymm1, [rax + 32]
    vmovdqu [rcx + 32], ymm1
# The keys of the hashes and the spilled rows are secret.
    vpxor xmm0, xmm0, xmm0
    vmovdqa [rsp + 0], ymm0
    vmovdqa [rsp + 32], ymm0
    vmovdqa [rsp + 128], ymm0
    vmovdqa [rsp + 160], ymm0
    vzeroupper
    mov rsp, [rsp + 224]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
