// One direction of a picture resampled as Pillow does it: sums of levels by weights of 22 bits, rounded and clipped.
//
// A thread computes one pixel of three colours. Steps are in bytes and may be negative, which turns a picture on the
// way: `along` the direction that is resampled, and `across` it. A row of `taps` is the first pixel that a value of the
// result looks at, how many there are, and their weights. Threads that are next to each other write next to each other.

extern "C" __global__ void resample(
    const unsigned char* source, long long along, long long across, const int* taps, int most, int length, int lines,
    unsigned char* result, long long result_along, long long result_across) {
    const long long number = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (number >= (long long)length * lines) return;
    const bool side_by_side = result_along < result_across;
    const long long place = side_by_side ? number % length : number / lines;
    const long long line = side_by_side ? number / length : number % lines;

    const int* own = taps + place * (most + 2);
    const int* weights = own + 2;
    const unsigned char* pixel = source + line * across + own[0] * along;
    int red = 1 << 21, green = 1 << 21, blue = 1 << 21;
    for (int i = 0; i < own[1]; i++) {
        red += weights[i] * pixel[0];
        green += weights[i] * pixel[1];
        blue += weights[i] * pixel[2];
        pixel += along;
    }
    unsigned char* written = result + place * result_along + line * result_across;
    written[0] = min(max(red >> 22, 0), 255);
    written[1] = min(max(green >> 22, 0), 255);
    written[2] = min(max(blue >> 22, 0), 255);
}
