// Exact re-ranking: one block per query scores its candidates, sorts them in shared memory and writes the best k.
//
// Vectors are float16 [size, d], in the memory of the GPU or in page-locked memory of the host, sums are float32.
// Candidates that are out of range (what an index gives where it found too few) or not selected come last, as -1.

__device__ float widen(unsigned short half) {
    // By its instruction, so that no header of the CUDA toolkit is needed.
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
}

__device__ float product_of_two(unsigned int halves, float first, float second) {
    return widen(halves & 0xffff) * first + widen(halves >> 16) * second;
}

__device__ bool better(float score, long long position, float other_score, long long other_position) {
    return score > other_score || (score == other_score && position < other_position);
}

extern "C" __global__ void rerank(
    const float* queries, const unsigned short* vectors, const long long* candidates, const unsigned char* selected,
    long long size, int d, int count, int padded, int k, float* scores, long long* positions) {
    extern __shared__ long long shared[];
    long long* held = shared;                        // [padded]
    float* score = (float*)(held + padded);          // [padded]
    float* query = score + padded;                   // [d]
    const long long row = blockIdx.x;
    for (int i = threadIdx.x; i < d; i += blockDim.x) query[i] = queries[row * d + i];
    __syncthreads();

    const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int c = threadIdx.x / 32; c < padded; c += warps) {
        const long long position = c < count ? candidates[row * count + c] : -1;
        bool counts = position >= 0 && position < size;
        if (counts && selected) counts = (selected[position >> 3] >> (position & 7)) & 1;
        float sum = 0;
        if (counts) {
            const unsigned short* vector = vectors + position * d;
            if (d % 8 == 0) {
                for (int i = lane * 8; i < d; i += 256) {
                    const uint4 eight = *(const uint4*)(vector + i);
                    sum += product_of_two(eight.x, query[i], query[i + 1]);
                    sum += product_of_two(eight.y, query[i + 2], query[i + 3]);
                    sum += product_of_two(eight.z, query[i + 4], query[i + 5]);
                    sum += product_of_two(eight.w, query[i + 6], query[i + 7]);
                }
            } else {
                for (int i = lane; i < d; i += 32) sum += widen(vector[i]) * query[i];
            }
            for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
        }
        if (lane == 0) {
            score[c] = counts ? sum : -__int_as_float(0x7f800000);
            held[c] = counts ? position : 0x7fffffffffffffff;
        }
    }
    __syncthreads();

    // A bitonic sort, best first.
    for (int width = 2; width <= padded; width *= 2) {
        for (int step = width / 2; step; step /= 2) {
            for (int i = threadIdx.x; i < padded; i += blockDim.x) {
                const int other = i ^ step;
                if (other > i) {
                    const bool first_is_better = better(score[i], held[i], score[other], held[other]);
                    const bool second_is_better = better(score[other], held[other], score[i], held[i]);
                    if ((i & width) ? first_is_better : second_is_better) {
                        const float one = score[i];
                        score[i] = score[other];
                        score[other] = one;
                        const long long place = held[i];
                        held[i] = held[other];
                        held[other] = place;
                    }
                }
            }
            __syncthreads();
        }
    }
    for (int i = threadIdx.x; i < k; i += blockDim.x) {
        const bool found = held[i] != 0x7fffffffffffffff;
        scores[row * k + i] = score[i];
        positions[row * k + i] = found ? held[i] : -1;
    }
}
