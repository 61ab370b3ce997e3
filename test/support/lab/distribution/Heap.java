// SPDX-License-Identifier: Apache-2.0
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;

/** A heap that checks itself: each line on its input is answered by `ok`, or by what is wrong. */
public final class Heap {
    private static final int BLOCKS = 1536;
    private static final int BLOCK_BYTES = 64 << 10;

    private static byte[] made(int number, int generation) {
        byte[] bytes = new byte[BLOCK_BYTES];
        new Random(number * 1_000_003L + generation).nextBytes(bytes);
        return bytes;
    }

    public static void main(String[] words) throws Exception {
        Map<Integer, byte[]> blocks = new HashMap<>();
        int[] generations = new int[BLOCKS];
        for (int i = 0; i < BLOCKS; i++) blocks.put(i, made(i, 0));
        System.out.println("ok");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (int round = 1; input.readLine() != null; round++) {
            String wrong = null;
            for (int i = 0; i < BLOCKS; i++)
                if (!java.util.Arrays.equals(blocks.get(i), made(i, generations[i]))) wrong = "block " + i;
            // Some are made again, so that the collector has work.
            for (int i = round % 8; i < BLOCKS; i += 8) blocks.put(i, made(i, generations[i] = round));
            System.out.println(wrong == null ? "ok" : wrong);
        }
    }
}
