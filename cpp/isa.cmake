# SPDX-License-Identifier: Apache-2.0
# The list of instruction sets: name, compiler flags. No other file of the build knows a -m flag.
#
# Every row compiles cpp/kernels/instantiate*.cpp once more, in namespace lamella::kernels::<name>,
# and adds one constant table to the library; cpp/dispatch/cpu.cpp has the matching row with the
# test that decides whether the table may be used. Rows go from the oldest machine to the newest.
# avx512_vnni is the table of avx512 but for what LAMELLA_VNNI_SOURCES define.
set(LAMELLA_VNNI_SOURCES cpp/kernels/instantiate_bytes.cpp)
set(LAMELLA_ISA_SOURCES
    cpp/kernels/instantiate.cpp
    cpp/kernels/instantiate_cast.cpp
    cpp/kernels/instantiate_integer.cpp
    cpp/kernels/instantiate_elementwise.cpp
    cpp/kernels/instantiate_rows.cpp
    cpp/kernels/instantiate_gemm.cpp
    cpp/kernels/instantiate_bytes.cpp
    cpp/kernels/instantiate_quantize.cpp
    cpp/kernels/instantiate_optimizer.cpp
    cpp/kernels/instantiate_indexing.cpp
    cpp/kernels/instantiate_limits.cpp)

# Floating-point meaning is the same everywhere: no contraction (every FMA is written), no -ffast-math.
set(LAMELLA_KERNEL_FLAGS -O3 -fno-math-errno -fno-trapping-math -ffp-contract=off -fno-exceptions
                         -fno-rtti -fno-asynchronous-unwind-tables)

# GCC's pre-allocation scheduler interleaves the long dependency chains of polynomials, but spills
# the accumulators of a register tile: on for the one file, off for the others.
set_source_files_properties(
  cpp/kernels/instantiate_elementwise.cpp
  PROPERTIES COMPILE_OPTIONS "$<$<CXX_COMPILER_ID:GNU>:-fschedule-insns;-fsched-pressure>")

set(LAMELLA_ISA_OBJECTS "")
function(lamella_add_isa name sources)
  add_library(lamella_isa_${name} OBJECT ${${sources}})
  target_compile_features(lamella_isa_${name} PRIVATE cxx_std_20)
  target_compile_definitions(lamella_isa_${name} PRIVATE LAMELLA_ISA_NAMESPACE=${name})
  target_compile_options(lamella_isa_${name} PRIVATE ${LAMELLA_WARNINGS} ${LAMELLA_KERNEL_FLAGS} ${ARGN}
                                                     ${LAMELLA_SANITIZE_FLAGS})
  target_include_directories(lamella_isa_${name} PRIVATE ${PROJECT_SOURCE_DIR}/cpp)
  set_target_properties(lamella_isa_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON
                                                       CXX_VISIBILITY_PRESET hidden)
  set(LAMELLA_ISA_OBJECTS ${LAMELLA_ISA_OBJECTS} $<TARGET_OBJECTS:lamella_isa_${name}> PARENT_SCOPE)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  lamella_add_isa(baseline LAMELLA_ISA_SOURCES -march=x86-64)
  lamella_add_isa(avx2 LAMELLA_ISA_SOURCES -march=x86-64 -mavx2 -mfma -mf16c -mbmi2)
  # GCC 12's own avx512fintrin.h reads undefined registers on purpose, and warns where it is inlined.
  set(LAMELLA_AVX512 -march=x86-64 -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl
                     "$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized>")
  lamella_add_isa(avx512 LAMELLA_ISA_SOURCES ${LAMELLA_AVX512})
  lamella_add_isa(avx512_vnni LAMELLA_VNNI_SOURCES ${LAMELLA_AVX512} -mavx512vnni)
else()
  message(FATAL_ERROR "lamella: no instruction set is written for ${CMAKE_SYSTEM_PROCESSOR}")
endif()
